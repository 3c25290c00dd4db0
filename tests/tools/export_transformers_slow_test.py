"""Loads what export wrote by Hugging Face's transformers, and compares it with Tandem: the log-probability of each token of a
text, in one piece and in several, and what both generate. Needs PyPI's torch and transformers; without them the test is
skipped.

The argument is the folder of the programs.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

CACHE = tempfile.TemporaryDirectory()
os.environ |= {"HF_HOME": CACHE.name, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar
except ImportError as error:
    print(f"skipped: this python3 lacks something ({error}); pip install torch transformers")
    sys.exit(77)

TOOLS = pathlib.Path(sys.argv[1])
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "srupp"
TOLERANCE = 1e-5
SMALL = ["--d=32", "--layers=2", "--batch-size=4", "--unroll=16", "--eval-window=16", "--eval-batch-size=2", "--steps=40",
         "--eval-every=40", "--warmup=5", "--sample-bytes=0", "--no-test", "--lr=1e-2"]
WORDS = ["--level=word", "--set=cutoffs=[9,25]", "--set=band_divisor=2"]


def tool(name, *arguments):
    done = subprocess.run([TOOLS / name, *arguments], capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"{name} {arguments} ends with {done.returncode}: {done.stderr.decode()}")
    return done.stdout


class Transformers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        disable_progress_bar()
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        draw = random.Random(3)
        words = ["".join(draw.choices("abcdefgh", k=draw.randint(1, 5))) for _ in range(50)]
        lines = [" ".join(draw.choices(words[: draw.choice([10, 50])], k=draw.randint(1, 9))) for _ in range(400)]
        cls.text = cls.folder / "text"
        cls.text.write_text("\n".join(lines) + "\n")

    def scored(self, checkpoint, text):
        """Returns Tandem's log-probabilities of all tokens of the text but the first."""
        out = text.with_name(f"{text.name}.log_p")
        out.unlink(missing_ok=True)
        tool("evaluate", f"--checkpoint={checkpoint}", f"--corpus={text}", "--split=all", "--device=cpu",
             f"--log-probabilities={out}")
        return torch.tensor([float(line) for line in out.read_text().split()])

    def compare(self, *train, small=SMALL, prompt="ab", pieces=7):
        """Trains a small model with these flags, exports it, and compares it with what transformers load."""
        with tempfile.TemporaryDirectory() as folder:
            run, out = pathlib.Path(folder) / "run", pathlib.Path(folder) / "exported"
            tool("train", self.text, f"--out={run}", "--device=cpu", *small, *train)
            checkpoint = run / "best.safetensors"
            tool("export", checkpoint, "--format=transformers", f"--out={out}")
            model, told = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True, output_loading_info=True)
            self.assertFalse(any(told.values()), told)
            tokenizer = AutoTokenizer.from_pretrained(out, trust_remote_code=True)

            scored = self.folder / "scored"
            scored.write_text(self.text.read_text()[:700].rpartition("\n")[0] + "\n")
            expected = self.scored(checkpoint, scored)
            ids = tokenizer(scored.read_text(), return_tensors="pt").input_ids
            self.assertEqual(ids.size(1), len(expected) + 1)
            self.assertGreater(ids.size(1), 3 * 16)

            def log_p(logits):
                return logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).flatten()

            whole = model(ids, labels=ids)
            self.assertLess((log_p(whole.logits) - expected).abs().max().item(), TOLERANCE)
            self.assertAlmostEqual(whole.loss.item(), -expected.mean().item(), delta=TOLERANCE)
            state, logits = None, []
            for piece in ids.split(pieces, 1):
                part = model(piece, state=state)
                state = part.state
                logits.append(part.logits)
            self.assertLess((log_p(torch.cat(logits, 1)) - expected).abs().max().item(), TOLERANCE)

            text = tool("generate", f"--checkpoint={checkpoint}", f"--prompt={prompt}", "--tokens=60", "--temperature=0",
                        "--device=cpu").decode()
            begin = tokenizer(prompt, return_tensors="pt").input_ids
            made = model.generate(begin, max_new_tokens=60, do_sample=False)
            self.assertEqual(tokenizer.decode(made[0]), text)
            return model, tokenizer, ids

    def word_prompt(self):
        return " ".join(self.text.read_text().split()[:2])

    def test_weights_of_the_authors_of_srupp_score_as_in_their_code(self):
        out = self.folder / "authors"
        tool("export", GOLDEN / "weights.safetensors", "--format=transformers", "--window=32", f"--out={out}")
        model = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True)
        tokenizer = AutoTokenizer.from_pretrained(out, trust_remote_code=True)
        text = (GOLDEN / "text.bin").read_bytes().decode("utf-8", "surrogateescape")
        ids = tokenizer(text, return_tensors="pt").input_ids
        expected = json.loads((GOLDEN / "expected.json").read_text())["eval"][0]["mean_nll_nats"]
        self.assertAlmostEqual(model(ids, labels=ids).loss.item(), expected, delta=2e-6)

    def test_srupp_of_the_default_preset(self):
        self.compare(small=["--batch-size=4", "--steps=6", "--eval-every=6", "--warmup=2", "--no-test", "--sample-bytes=0",
                            "--eval-window=16"])

    def test_srupp_as_published_with_heads_and_attention_in_some_layers(self):
        self.compare("--preset=laptop-published", "--d-projected=8", "--heads=2", "--layers=4", "--attention-every=2",
                     "--set=alpha=1", "--dropout=0.1", "--set=tied=true")
        self.compare("--d-projected=8", "--layers=3", "--attention-every=0", "--attention-last=1", "--eval-memory=23")

    def test_srupp_of_words_in_every_form_of_adaptive_softmax(self):
        srupp = ["--d-projected=8", *WORDS]
        prompt = self.word_prompt()
        self.compare(*srupp, "--set=band_width=16", "--set=tied=true", "--set=tied_projections=tails", prompt=prompt)
        self.compare(*srupp, "--set=band_width=16", "--set=tied=true", "--set=tied_projections=all", prompt=prompt)
        self.compare(*srupp, "--set=adaptive=baevski", prompt=prompt)
        self.compare(*srupp, "--set=adaptive=pytorch", prompt=prompt)
        for tied in ("true", "false"):
            self.compare(*srupp, "--set=band_divisor=1", f"--set=tied={tied}", prompt=prompt)

    def test_sru(self):
        self.compare("--model=sru", "--d-projected=8", "--set=d_embedding=20")
        self.compare("--model=sru", "--set=rescale=false", "--set=tied=true")

    def test_transformer_xl(self):
        xl = ["--model=transformer-xl", "--heads=2", "--set=d_head=16", "--set=d_inner=64", "--lr=3e-3"]
        self.compare(*xl, "--eval-memory=25", "--eval-clamp=11")
        self.compare(*xl, "--set=norm=before", "--set=final_norm=true", "--set=attention_bias=true", "--set=activation=gelu",
                     "--set=conv_width=3", "--set=shared_position_bias=false", "--set=output_bias=false", "--layers=3")
        self.compare(*xl, *WORDS, "--set=tied_projections=tails", prompt=self.word_prompt())

    def test_primer(self):
        for model in ("primer", "primer-ez"):
            self.compare(f"--model={model}", "--heads=2", "--set=d_head=16", "--set=d_inner=64", "--lr=3e-3")

    def test_generation_goes_on_from_a_state_and_beams_take_it_along(self):
        model, _, ids = self.compare("--d-projected=8")
        whole = model.generate(ids[:, :50], max_new_tokens=20, do_sample=False)
        state = model(ids[:, :30]).state
        self.assertTrue(torch.equal(model.generate(ids[:, :50], state=state, max_new_tokens=20, do_sample=False), whole))
        with self.assertRaisesRegex(ValueError, "generation needs the whole text, with the 30 tokens"):
            model.generate(ids[:, 1:50], state=state, max_new_tokens=20, do_sample=False)
        beams = {"max_new_tokens": 12, "num_beams": 3, "do_sample": False}
        again = model.generate(ids[:, :20], use_cache=False, **beams)
        self.assertTrue(torch.equal(model.generate(ids[:, :20], **beams), again))
        with self.assertRaisesRegex(ValueError, "attention_mask hides tokens"):
            model(ids, attention_mask=torch.zeros_like(ids))
        with self.assertRaisesRegex(ValueError, "the vocabulary has"):
            model(ids + 1000)

    def test_gradients_flow_through_the_text(self):
        model, _, ids = self.compare("--d-projected=8", "--attention-every=2")
        with torch.enable_grad():
            model(ids[:, :40], labels=ids[:, :40]).loss.backward()
        for name, parameter in model.named_parameters():
            self.assertTrue(parameter.grad is not None and parameter.grad.abs().max() > 0, name)

    def test_the_tokenizer_gives_texts_back_and_names_what_it_lacks(self):
        _, tokenizer, _ = self.compare("--d-projected=8")
        text = self.text.read_text()[:99]
        self.assertEqual(tokenizer.decode(tokenizer(text).input_ids), text)
        with self.assertRaisesRegex(ValueError, "byte 0x5a is not among the"):
            tokenizer("aZ")
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            again = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
            self.assertEqual(again(text).input_ids, tokenizer(text).input_ids)

        _, tokenizer, _ = self.compare("--d-projected=8", "--level=word", prompt=self.word_prompt())
        a, b = self.word_prompt().split()
        ids = tokenizer(f" {a}\u2003 nothing\n\n{b}\x1c{a}").input_ids
        self.assertEqual(tokenizer.decode(ids), f"{a} <unk>\n\n{b} {a}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
