"""From a budget to a number of steps, and the flags of a run whose schedule is that long."""


def steps_of_budget(arguments, facts, step_seconds):
    """Returns the number of steps, not rounded, that a budget of time, FLOPs or tokens buys."""
    if arguments.tokens:
        return arguments.tokens / facts["tokens_per_step"]
    if arguments.flops:
        return arguments.flops / facts["flops_per_step"]
    return arguments.budget / step_seconds


def whole_steps(steps):
    return max(1, round(steps))


def warmup_of(facts, steps, share=None):
    """Returns the updates of warm-up: a share of all, or those of the recipe, but at most a tenth of all."""
    if share is not None:
        return max(1, round(share * steps))
    return min(facts["warmup"], max(1, steps // 10))


def schedule_flags(facts, steps, evaluations, share=None):
    """Returns the flags of a run of so many steps, with a complete schedule of that length."""
    return [f"--steps={steps}", f"--eval-every={max(1, steps // evaluations)}",
            f"--warmup={warmup_of(facts, steps, share)}", "--sample-bytes=0"]
