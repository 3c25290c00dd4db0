"""Language models that were trained by Tandem, for AutoModelForCausalLM.

    model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)
    out = model(ids)                          # logits (B, T, V); with an adaptive softmax they are log-probabilities
    out = model(more_ids, state=out.state)    # goes on where the text before ended

The names of the parameters are those of Tandem's checkpoints.
"""
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_tandem import TandemConfig
from .layers_tandem import Projection, make_layers, new_weight


class TandemState:
    """What the layers keep of the text that was read. It has no gradient."""

    def __init__(self, tokens, layers):
        self.tokens = tokens  # (B, T): all that was read
        self.layers = layers  # a list of tensors, or of None, for each layer

    def detached(self):
        return TandemState(self.tokens, [[t if t is None else t.detach() for t in layer] for layer in self.layers])

    def of_rows(self, rows):
        """Returns the state of these rows of the batch."""
        return TandemState(self.tokens[rows], [[t if t is None else t[rows] for t in layer] for layer in self.layers])

    def reorder_cache(self, rows):
        """Does nothing: prepare_inputs_for_generation() finds the rows that a beam search goes on with."""


@dataclass
class TandemOutput(ModelOutput):
    loss: Optional[torch.Tensor] = None
    logits: Optional[torch.Tensor] = None
    state: Optional[TandemState] = None


class Context:
    """How far attention looks back, and the sinusoids of the distances."""

    def __init__(self, config):
        self.memory, self.clamp, self.table = config.memory, config.clamp, None

    def sinusoids(self, keys, like):
        """Returns the table (distances, D) for so many keys: all sines, then all cosines."""
        rows = min(keys, self.clamp + 1) if self.clamp > 0 else keys
        if self.table is None or self.table.size(0) < rows:
            d = like.size(-1)
            exponents = torch.arange(0, d, 2, dtype=torch.float32) / d
            frequencies = 1 / (10000.0 ** exponents.double()).float()  # rounded as Tandem rounds them
            angles = torch.arange(rows, dtype=torch.float64)[:, None] * frequencies.double()
            self.table = torch.cat([angles.sin(), angles.cos()], -1).to(like.device, like.dtype)
        return self.table[:rows]


def clusters_of(c, d):
    """Returns the first id, the end and the number of features of each cluster of the vocabulary."""
    ends = [*c["cutoffs"], c["vocabulary"]]
    widths = [(c["band_width"] or d) // c["band_divisor"] ** i for i in range(len(ends))]
    return list(zip([0, *ends], ends, widths))


def is_one_table(c, d):
    """Returns whether an adaptive softmax in the form of Transformer-XL has one table for all clusters."""
    return c["adaptive"] == "projected" and c["band_divisor"] == 1 and (c["band_width"] or d) == d


class TokenEmbedding(nn.Module):
    def __init__(self, c, d, scale):
        super().__init__()
        self.scale, self.vocabulary = scale, c["vocabulary"]
        self.spans = clusters_of(c, d)
        if not c["cutoffs"] or c["adaptive"] == "pytorch" or is_one_table(c, d):
            self.weight = new_weight(c["vocabulary"], d)
        else:
            self.weight = None
            self.rows = nn.ParameterList(new_weight(end - begin, width) for begin, end, width in self.spans)
            self.projections = nn.ParameterList(new_weight(d, width) for _, _, width in self.spans)

    def forward(self, ids):
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocabulary:
            raise ValueError(f"ids from {int(ids.min())} to {int(ids.max())}; the vocabulary has {self.vocabulary}")
        if self.weight is not None:
            return self.scale * F.embedding(ids, self.weight)
        x = self.projections[0].new_zeros(*ids.shape, self.projections[0].size(0))
        for (begin, end, _), rows, projection in zip(self.spans, self.rows, self.projections):
            inside = (ids >= begin) & (ids < end)
            x[inside] = F.linear(rows[ids[inside] - begin], projection)
        return self.scale * x


class TokenOutput(nn.Module):
    """Maps hidden (..., D) to logits or, in clusters, to log-probabilities (..., V). What is tied is the embedding's."""

    def __init__(self, c, d, with_bias):
        super().__init__()
        self.tied, self.spans = c["tied"], clusters_of(c, d)
        self.adaptive, self.one_table = bool(c["cutoffs"]), not c["cutoffs"] or is_one_table(c, d)
        projected = c["adaptive"] == "projected"
        self.weight = self.bias = None
        if self.one_table:
            self.weight = None if self.tied else new_weight(c["vocabulary"], d)
            self.bias = nn.Parameter(torch.zeros(c["vocabulary"])) if with_bias else None
        else:
            first_own = {"none": 0, "tails": 0, "all": len(self.spans)}[c["tied_projections"]]
            last_own = 1 if c["tied_projections"] == "tails" else len(self.spans)
            self.own = [i for i in range(first_own, last_own) if i > 0 or projected]
            self.projected = range(0 if projected else 1, len(self.spans))
            self.projections = nn.ParameterDict({str(i): new_weight(d, self.spans[i][2]) for i in self.own})
            self.rows = nn.ParameterList([] if self.tied else [new_weight(e - b, w) for b, e, w in self.spans])
            self.biases = nn.ParameterList([nn.Parameter(torch.zeros(e - b)) for b, e, _ in self.spans] * projected)
        if self.adaptive:
            self.clusters = Projection(len(c["cutoffs"]), self.spans[0][2], bias=projected)

    def cluster(self, i, h, embedding):
        """Returns what cluster i multiplies: its features of h, its rows and its bias or None."""
        begin, end, _ = self.spans[i]
        if self.one_table:
            rows = embedding.weight if self.tied else self.weight
            return h, rows[begin:end], None if self.bias is None else self.bias[begin:end]
        if i in self.projected:
            h = h @ (self.projections[str(i)] if i in self.own else embedding.projections[i])
        rows = embedding.rows if self.tied else self.rows
        return h, rows[i], self.biases[i] if len(self.biases) else None

    def forward(self, h, embedding):
        features, rows, bias = self.cluster(0, h, embedding)
        first = F.linear(features, rows, bias)
        if not self.adaptive:
            return first
        head = torch.cat([first, self.clusters(features)], -1).log_softmax(-1)
        parts = [head[..., : rows.size(0)]]
        for i in range(1, len(self.spans)):
            tail = F.linear(*self.cluster(i, h, embedding)).log_softmax(-1)
            parts.append(tail + head[..., rows.size(0) + i - 1, None])
        return torch.cat(parts, -1)


class TandemForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = TandemConfig
    _is_stateful = True  # a state cannot be cut back, which assisted decoding would need

    def __init__(self, config):
        super().__init__(config)
        c = config.tandem
        transformer = c["model"] not in ("srupp", "sru")
        self.embedding = TokenEmbedding(c, c.get("d_embedding") or c["d"], c["d"] ** 0.5 if transformer else 1.0)
        self.layers = make_layers(c)
        self.output = TokenOutput(c, c["d"], c.get("output_bias", True))
        self.post_init()

    def _init_weights(self, module):
        """Leaves the initial values as the constructors made them."""

    @classmethod
    def _supports_default_dynamic_cache(cls):
        return False  # the state is a TandemState

    def forward(self, input_ids, attention_mask=None, labels=None, state=None, use_cache=True, logits_to_keep=0,
                return_dict=True):
        """Reads ids (B, T) after the text that `state` has read. With labels (B, T), which may be the ids, it also returns
        the mean loss in nats of each label but the first; -100 is left out."""
        if attention_mask is not None and not bool(attention_mask.bool().all()):
            raise ValueError("attention_mask hides tokens: give texts of one length, since padding would be read as text")
        if state is not None and state.tokens.size(0) != input_ids.size(0):
            raise ValueError(f"the state is of {state.tokens.size(0)} texts, and there are {input_ids.size(0)}")
        context = Context(self.config)
        kept = [None] * len(self.layers) if state is None else state.layers
        hidden = []
        for ids in input_ids.split(self.config.window, 1):
            x, after = self.embedding(ids), []
            for layer, before in zip(self.layers, kept):
                x, now = layer(x, before, context)
                after.append(now)
            kept = after
            hidden.append(x)
        h = torch.cat(hidden, 1)
        logits = self.output(h[:, -logits_to_keep:] if logits_to_keep else h, self.embedding)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        if use_cache:
            tokens = input_ids if state is None else torch.cat([state.tokens, input_ids], 1)
            state = TandemState(tokens, kept).detached()
        out = TandemOutput(loss, logits, state if use_cache else None)
        return out if return_dict else out.to_tuple()

    def prepare_inputs_for_generation(self, input_ids, state=None, use_cache=True, attention_mask=None, logits_to_keep=0,
                                      **unused):
        """Returns the arguments of forward() that read what the state has not read yet of the text `input_ids`."""
        if state is not None:
            read = state.tokens.size(1)
            same = (input_ids[:, None, :read] == state.tokens).all(-1) if read < input_ids.size(1) else None
            if same is None or not bool(same.any(1).all()):
                raise ValueError(f"generation needs the whole text, with the {read} tokens that the state has read before")
            state = state.of_rows(same.int().argmax(1))  # a beam search may have taken the rows in another order
            input_ids = input_ids[:, read:]
        return {"input_ids": input_ids, "state": state, "use_cache": use_cache, "attention_mask": attention_mask,
                "logits_to_keep": logits_to_keep}

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        if outputs.state is not None:
            model_kwargs["state"] = outputs.state
        return model_kwargs

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return None

    def resize_token_embeddings(self, *args, **kwargs):
        raise NotImplementedError("the vocabulary of a model of Tandem is as large as when it was trained")
