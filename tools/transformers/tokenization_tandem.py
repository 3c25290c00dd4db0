"""The tokens of a model of Tandem, bytes or words, with the ids that Tandem gives them.

vocab.txt has a symbol a line, in the order of the ids: a byte as two hex digits, a word as it is. There are no special
tokens. Text that is not UTF-8 is given as bytes.decode("utf-8", "surrogateescape").
"""
import os

from transformers import PreTrainedTokenizer

LINE_ENDS, UNKNOWN = ("<eos>", "<S>"), ("<unk>", "<UNK>")


class TandemTokenizer(PreTrainedTokenizer):
    """Cuts a text into bytes (unit "byte") or into words and line ends (unit "word").

    errors   what decode() does with bytes that are not UTF-8, as in bytes.decode()
    """

    vocab_files_names = {"vocab_file": "vocab.txt"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file, unit="byte", errors="replace", **kwargs):
        self.unit, self.errors = unit, errors
        with open(vocab_file, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        if unit == "byte":
            self.symbols = [chr(int(line, 16)) for line in lines]  # a byte's token is the character of its value
        else:
            self.symbols = [line.decode("utf-8", "surrogateescape") for line in lines]
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.line_end = next((name for name in LINE_ENDS if name in self.ids), None)
        self.unknown = next((name for name in UNKNOWN if name in self.ids), None)
        kwargs.setdefault("clean_up_tokenization_spaces", False)  # older versions else drop blanks before commas
        super().__init__(unit=unit, errors=errors, **kwargs)

    @property
    def vocab_size(self):
        return len(self.symbols)

    def get_vocab(self):
        return dict(self.ids)

    def _tokenize(self, text, **unused):
        if self.unit == "byte":
            return [chr(byte) for byte in text.encode("utf-8", "surrogateescape")]
        tokens = []
        for i, line in enumerate(text.split("\n")):
            tokens += [self.line_end] * (i > 0) + line.split()
        return tokens

    def _convert_token_to_id(self, token):
        if self.unit == "word":
            return self.ids.get(token, self.ids[self.unknown])
        if token not in self.ids:
            raise ValueError(f"byte 0x{ord(token):02x} is not among the {len(self.ids)} that the model was trained on")
        return self.ids[token]

    def _convert_id_to_token(self, index):
        return self.symbols[index]

    def convert_tokens_to_string(self, tokens):
        if self.unit == "byte":
            return bytes(map(ord, tokens)).decode("utf-8", self.errors)
        lines = [[]]
        for token in tokens:
            if token == self.line_end:
                lines.append([])
            else:
                lines[-1].append(token)
        text = "\n".join(" ".join(line) for line in lines)
        return text.encode("utf-8", "surrogateescape").decode("utf-8", self.errors)

    def save_vocabulary(self, save_directory, filename_prefix=None):
        name = (filename_prefix + "-" if filename_prefix else "") + "vocab.txt"
        path = os.path.join(save_directory, name)
        with open(path, "wb") as file:
            for symbol in self.symbols:
                line = b"%02x" % ord(symbol) if self.unit == "byte" else symbol.encode("utf-8", "surrogateescape")
                file.write(line + b"\n")
        return (path,)
