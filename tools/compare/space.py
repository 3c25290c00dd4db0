"""The candidates of a tuning: the settings that it tries for each model.

Every model has a ladder of learning rates, weight decay and warm-up. Beside these a model has variants: groups of
fields of its configuration that are tried together, since some changes help only in company. A variant or value is used
only if `train --describe` shows its fields, and if the command line does not give one of them another value.
"""
import dataclasses

LADDER = (-2, -1, 0, 1, 2)  # powers of two, times the rate of the preset
LONGEST_LADDER = 8

VARIANTS = {
    "srupp": [{"highway_bias": -2, "conv_width": 0, "short_conv_width": 0, "alpha": 0},
              {"highway_bias": 0, "conv_width": 3, "short_conv_width": 4, "alpha": 1}],
    "sru": [{"highway_bias": -2}, {"highway_bias": 0}],
    "stack": [{"highway_bias": -2}, {"highway_bias": 0}],
    "sha-rnn": [{"max_positions": lambda facts: 2 * facts["unroll"]},
                {"max_positions": lambda facts: 4 * facts["unroll"]}],
    "shaq": [{"max_positions": lambda facts: 2 * facts["unroll"]},
             {"max_positions": lambda facts: 4 * facts["unroll"]}],
    "transformer-xl": [{"norm": "after"}, {"norm": "before"}],
    "transformer": [{"norm": "after"}, {"norm": "before"}],
}
# Fields of the recipe, which are flags of train.
RECIPE = {"optimizer": ("radam", "muon"), "weight_decay": (0, 0.1), "decay": ("all", "matrices")}
WARMUP_SHARES = (0.02, 0.1)  # of all updates


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A choice of settings: the rate is that of the preset times 2^rung; `changes` are other settings and values."""

    rung: int = 0
    changes: tuple = ()  # ((setting, value), ...): a field of the model or of the recipe, or "warmup_share"

    def at(self, rung):
        return Candidate(rung, self.changes)

    def with_change(self, change):
        return Candidate(self.rung, tuple(sorted({**dict(self.changes), **dict([change])}.items())))


@dataclasses.dataclass(frozen=True)
class Space:
    """The candidates of a model: its variants, and changes of the recipe that are tried for the best of them."""

    lr: float  # of the preset, or of the command line
    variants: tuple  # of changes; () is the model as the command line gives it
    alternatives: tuple  # ((setting, value), ...)

    def rate(self, candidate):
        return self.lr * 2.0 ** candidate.rung

    def flags(self, candidate):
        """Returns the flags of train for a candidate, except the warm-up, which depends on the number of steps."""
        flags = [f"--lr={self.rate(candidate):.9g}"]
        for name, value in candidate.changes:
            if name in RECIPE:
                flags.append(f"--{name.replace('_', '-')}={value}")
            elif name != "warmup_share":
                flags.append(f"--set={name}={value}")
        return flags

    def text(self, candidate):
        """Returns the settings of a candidate as one short text."""
        return " ".join([f"lr={self.rate(candidate):.4g}", *(f"{name}={value:g}" if isinstance(value, float) else
                                                             f"{name}={value}" for name, value in candidate.changes)])


def space_of(kind, facts, fixed, warmup_share):
    """Returns the space of a model of this kind.

    `facts` is what `train --describe` says, `fixed` the settings that the command line gives, and `warmup_share` the
    share of updates that the preset warms up for.
    """
    config, recipe = facts["model"], facts["recipe"]
    variants = [()]
    for variant in VARIANTS.get(kind, []):
        values = {name: value(facts) if callable(value) else value for name, value in variant.items()}
        changes = tuple(sorted((name, value) for name, value in values.items() if config.get(name) != value))
        if all(name in config for name in values) and not any(name in fixed for name, _ in changes) \
                and changes not in variants:
            variants.append(changes)
    alternatives = [(name, value) for name, values in RECIPE.items() if name in recipe and name not in fixed
                    for value in values if recipe[name] != value]
    if "warmup" not in fixed:
        alternatives += [("warmup_share", share) for share in WARMUP_SHARES
                         if not share / 2 < warmup_share < share * 2]
    return Space(recipe["lr"], tuple(variants), tuple(alternatives))
