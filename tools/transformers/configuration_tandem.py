"""The configuration of a language model that was trained by Tandem."""
from transformers import PretrainedConfig


class TandemConfig(PretrainedConfig):
    """Holds the configuration that Tandem's checkpoint has, and the context with which a text is read.

    tandem   the fields of the model; "model" is its name
    window   number of tokens that are read at a time, which bounds the memory that a long text takes and nothing else
    memory   number of earlier tokens that a token attends to in SRU++; in Transformer-XL itself is one of them
    clamp    largest distance that relative positions distinguish; 0: no limit
    """

    model_type = "tandem"

    def __init__(self, tandem=None, window=256, memory=256, clamp=0, **kwargs):
        self.tandem = tandem or {}
        self.window, self.memory, self.clamp = window, memory, clamp
        self.vocab_size = self.tandem.get("vocabulary", 0)
        self.hidden_size = self.tandem.get("d", 0)
        self.num_hidden_layers = self.tandem.get("layers", 0)
        self.num_attention_heads = self.tandem.get("heads", 1)
        kwargs["tie_word_embeddings"] = False  # what Tandem ties is said in `tandem`, and tied by the model itself
        super().__init__(**kwargs)
