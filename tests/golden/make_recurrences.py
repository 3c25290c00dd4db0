"""Writes min_gru/, griffin/ and gated_deltanet/ of this folder: losses and gradients of other people's models, in f64.

    python3 -m venv v && v/bin/pip install torch safetensors minGRU-pytorch==0.2.1 recurrentgemma==1.0.1 einops \
        sentencepiece jaxtyping transformers==5.24.0
    v/bin/python make_recurrences.py [NAME...]

Every parameter is drawn at random, away from its initial value, and rounded to f32. A file of gradients holds those of
the mean loss. Nothing in Tandem needs Python or PyTorch: the numbers are committed, and this says where they come from.
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file

VOCABULARY, STEPS, BATCH = 29, 37, 2
F32, F64 = torch.float32, torch.float64


def write(name, model, logits_of, facts, spread=0.25):
    """Shakes the model's parameters, computes losses and gradients, and writes the folder `name`."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    os.makedirs(folder, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=F64)
            parameter.copy_((parameter + spread * noise).to(F32).to(F64))
    x = torch.randint(VOCABULARY, (BATCH, STEPS), generator=generator)
    y = torch.randint(VOCABULARY, (BATCH, STEPS), generator=generator)
    logits = logits_of(model, x)
    assert logits.dtype == F64, "the model leaves f64 on its way"
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(BATCH, STEPS)
    nll.mean().backward()

    named = dict(model.named_parameters())
    norm = sum((p.grad ** 2).sum() for p in named.values()).sqrt().item()
    save_file({k: p.detach().to(F32).contiguous() for k, p in named.items()}, f"{folder}/weights.safetensors")
    save_file({"x": x.T.contiguous(), "y": y.T.contiguous()}, f"{folder}/inputs.safetensors")
    save_file({"nll": nll.detach().T.contiguous()}, f"{folder}/outputs.safetensors")
    save_file({k: p.grad.contiguous() for k, p in named.items()}, f"{folder}/grads.safetensors")
    expected = {
        "fixture": name, **facts, "torch": f"PyTorch {torch.__version__} (CPU)",
        "precision": "float64 arithmetic on float32-valued weights; outputs and gradients stored as F64",
        "T": STEPS, "B": BATCH, "vocabulary": VOCABULARY,
        "mean_nll_nats": nll.mean().item(), "gradient_global_l2_norm": norm}
    with open(f"{folder}/expected.json", "w") as file:
        json.dump(expected, file, indent=1)
        file.write("\n")
    print(name, sum(p.numel() for p in named.values()), "parameters, loss", nll.mean().item())


def min_gru():
    from minGRU_pytorch.minLM import minLM
    config = dict(num_tokens=VOCABULARY, dim=12, depth=2, ff_mult=2, expansion=1.5, conv_kernel_size=4,
                  enable_conv=True)
    write("min_gru", minLM(**config), lambda model, x: model(x), {
        "source": {"package": "minGRU-pytorch 0.2.1 (lucidrains/minGRU-pytorch), minLM"},
        "patches": [], "config": config,
        "norm": "torch.nn.RMSNorm without eps: that of float64, 2.220446049250313e-16"})


def griffin():
    import functools
    import unittest.mock
    sys.modules["recurrentgemma.jax"] = unittest.mock.MagicMock()  # the half that needs JAX
    from recurrentgemma import common
    from recurrentgemma.torch import griffin as authors, layers
    layers.rnn_scan = functools.partial(layers.rnn_scan, acc_dtype=F64)
    config = dict(vocab_size=VOCABULARY, width=12, mlp_expanded_width=20, num_heads=2, lru_width=16,
                  block_types=(common.TemporalBlockType.RECURRENT,) * 2, embeddings_scale_by_sqrt_dim=False,
                  attention_window_size=8, logits_soft_cap=0.0)

    def logits_of(model, x):
        positions = torch.arange(STEPS).repeat(BATCH, 1)
        return model(x, positions, return_cache=False)[0]

    model = authors.Griffin(common.GriffinConfig(**config), gradient_checkpointing=False)
    write("griffin", model, logits_of, {
        "source": {"package": "recurrentgemma 1.0.1 (google-deepmind/recurrentgemma), PyTorch version"},
        "patches": ["the recurrence sums in float64 instead of float32"],
        "config": {k: str(v) if k == "block_types" else v for k, v in config.items()},
        "note": "Hawk: recurrent blocks alone; the authors' attention is not Tandem's"}, spread=0.15)


def gated_deltanet():
    from transformers.models.qwen3_5 import modeling_qwen3_5 as authors
    config = dict(vocab_size=VOCABULARY, hidden_size=12, intermediate_size=20, num_hidden_layers=2,
                  layer_types=["linear_attention"] * 2, linear_conv_kernel_dim=4, linear_key_head_dim=5,
                  linear_value_head_dim=7, linear_num_key_heads=2, linear_num_value_heads=2,
                  num_attention_heads=2, num_key_value_heads=2, head_dim=4, rms_norm_eps=1e-6)
    torch.float32, torch.Tensor.float = F64, torch.Tensor.double
    write("gated_deltanet", authors.Qwen3_5ForCausalLM(authors.Qwen3_5TextConfig(**config)),
          lambda model, x: model(x, use_cache=False).logits, {
              "source": {"package": "transformers 5.24.0, Qwen3.5 with layers of linear attention alone, in PyTorch"},
              "patches": ["every conversion to float32 is one to float64"], "config": config}, spread=0.15)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["min_gru", "griffin", "gated_deltanet"]:
        torch.manual_seed(1)
        globals()[name]()
