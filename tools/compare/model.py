"""A model of the comparison: how it is written on the command line, and the command that trains it."""
import re

from compare.files import Failure

# A query of these models sees what their own field allows in training: segment and memory together.
POSITIONS = {"sha-rnn": "max_positions", "shaq": "max_positions"}


class Model:
    """[LABEL@]MODEL[:PRESET][+FLAG=VALUE...] together with the flags that all models have."""

    def __init__(self, text, arguments, program):
        match = re.fullmatch(r"(?:([^@]+)@)?([^+:@]+)(?::([^+]*))?((?:\+[^+]+)*)", text)
        if not match:
            raise Failure(f"{text} is not [LABEL@]MODEL[:PRESET][+FLAG=VALUE...]", 2)
        label, self.kind, preset, flags = match.groups()
        self.label = label or text
        self.program = program
        self.corpus = arguments.corpus
        self.own_flags = [*arguments.flag, *flags.split("+")[1:]]
        self.base = [str(program.path), arguments.corpus, f"--model={self.kind}",
                     f"--preset={preset or arguments.preset}"]
        self.name = re.sub(r"[^A-Za-z0-9.=-]+", "_", self.label)  # of its files and folders
        self.out = arguments.out
        self.context = arguments.context
        self._context_flags = None

    def is_called(self, text):
        return text in (self.label, self.kind)

    def fixed(self):
        """Returns the settings that the command line gives this model, and their values: no tuning changes them."""
        settings = {}
        for flag in self.own_flags:
            name, _, value = flag.removeprefix("set=").partition("=")
            settings[name.replace("-", "_")] = value
        if self.context and self.kind in POSITIONS:
            settings.setdefault(POSITIONS[self.kind], str(2 * self.context))
        return settings

    def context_flags(self):
        """Returns the flags that give the model a context of N tokens: segment, memory and evaluation window.

        A model that carries no memory gets segments of 2N in training, so that its queries see as many tokens as
        others see in segment and memory. Flags of the command line come later and win.
        """
        if self.context is None:
            return []
        if self._context_flags is None:
            n = self.context
            carries = self.program.describe(self.label, self.with_own_flags([]))["carries_state"]
            flags = [f"--unroll={n if carries else 2 * n}", f"--eval-window={n}", f"--eval-memory={n}",
                     "--eval-clamp=0"]
            if self.kind in POSITIONS:
                flags.append(f"--set={POSITIONS[self.kind]}={2 * n}")
            self._context_flags = flags
        return self._context_flags

    def with_own_flags(self, before):
        return [*self.base, *before, *(f"--{flag}" for flag in self.own_flags)]

    def command(self, candidate_flags=()):
        """Returns the command that trains this model with the settings of a candidate of its tuning."""
        return [*self.with_own_flags(self.context_flags()), *candidate_flags]

    def facts(self, candidate_flags=()):
        """Returns what `train --describe` says of that command."""
        return self.program.describe(self.label, self.command(candidate_flags))


def find_reference(models, text):
    """Returns the model that is called `text` by its label or its kind, or the first. Error: none or several are."""
    if text is None:
        return models[0]
    found = [model for model in models if model.label == text] or [model for model in models if model.is_called(text)]
    if len(found) != 1:
        raise Failure(f"--reference={text}: {len(found)} models are called so; there are "
                      + ", ".join(model.label for model in models), 2)
    return found[0]
