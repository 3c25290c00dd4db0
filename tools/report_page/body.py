"""The content of a report: scores, curves, samples, commands and configurations of runs."""
import json
import math
import pathlib

from compare import page
from report_page.run import thinned

MOST_POINTS = 1200  # of a curve: about as many as a screen has columns
LAST_STEPS = 100  # whose mean loss stands for the training loss
# Measure, label, whether whole numbers are shown with k and M, and whether the axis is logarithmic at first.
CHARTS = (("loss", "", False, False), ("lr", "learning rate", False, False),
          ("gradient_norm", "gradient norm", False, True), ("tokens_per_second", "tokens a second", True, False),
          ("memory_bytes", "memory, bytes", True, False))

STYLE = """
#controls { position: sticky; top: 0; z-index: 2; background: var(--paper); padding: .5rem 0; display: flex;
  flex-wrap: wrap; gap: .3rem 1.1rem; align-items: center; border-bottom: 1px solid var(--line) }
#controls input[type=range] { width: 7rem; vertical-align: middle }
#controls select, #controls button { font: inherit; color: inherit; background: var(--soft);
  border: 1px solid var(--line); border-radius: .2rem }
.legend { flex-basis: 100%; display: flex; flex-wrap: wrap; gap: .1rem 1rem; max-height: 6.5rem; overflow-y: auto }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin: 0 .3em }
.chart header { display: flex; justify-content: space-between; align-items: baseline }
.chart h3 { margin: 1rem 0 .2rem }
.plot { position: relative }
.plot svg { width: 100%; touch-action: pan-y; cursor: crosshair }
.plot text { font-size: 11px; fill: currentColor } .grid { stroke: var(--line); stroke-width: .7 }
.cursor { stroke: currentColor; stroke-width: .7 } .selection { fill: currentColor; opacity: .12 }
.tip { position: absolute; top: 0; pointer-events: none; background: var(--paper); border: 1px solid var(--line);
  border-radius: .3rem; padding: .3rem .5rem; font-size: 12px; max-width: 60% }
pre { background: var(--soft); padding: .6rem .8rem; border-radius: .3rem; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: .3rem 0 1rem } pre b { font-weight: 600; color: inherit; opacity: .6 }
tr.differs td { background: var(--mark) }
"""


def units_of(runs):
    """Returns the units of losses that make sense for all runs, the usual one first."""
    levels = {run.level for run in runs}
    perplexity = ["ppl", "nats"]
    units = {"byte": ["bpc", "nats"], "word": perplexity, "subword": perplexity}
    return units.get(levels.pop() if len(levels) == 1 else None, ["nats"])


def in_unit(nats, unit):
    """Returns a loss as text in a unit of the charts; "-" for none."""
    if nats is None or not math.isfinite(nats):
        return "-"
    return f"{nats / math.log(2) if unit == 'bpc' else math.exp(min(nats, 700)) if unit == 'ppl' else nats:.4f}"


def is_search(run):
    """Returns whether the run looked for a learning rate."""
    return run.config.get("recipe.schedule") == "exponential"


def curves(runs, reload):
    """Returns what charts.js draws. `reload`: seconds after which the page loads itself again; 0: it does not."""
    axes = ["step", "seconds", "tokens"]
    if any("flops_per_token" in run.facts for run in runs):
        axes.append("flops")
    if all(is_search(run) for run in runs):
        axes.insert(0, "lr")
    drawn = []
    for run, colour in zip(runs, page.CURVES * (1 + len(runs) // len(page.CURVES))):
        steps = thinned(run.steps, [name for name, *_ in CHARTS], MOST_POINTS)
        if "lr" in steps:
            steps["lr_at"] = steps["lr"]["mean"]
        drawn.append({"label": run.label, "colour": colour, "steps": steps, "dev": run.dev if run.dev["step"] else None,
                      "flops_per_token": run.facts.get("flops_per_token"),
                      "suggested_lr": run.end.get("suggested_lr") if run.end else None})
    for run in drawn:
        if run["dev"]:
            run["dev"] = {**run["dev"], "nats": {"mean": run["dev"]["nats"]}}
    charts = [{"measure": name, "label": label, "score": name == "loss", "whole": whole}
              for name, label, whole, _ in CHARTS if any(name in run["steps"] for run in drawn)]
    return {"runs": drawn, "charts": charts, "axes": axes, "units": units_of(runs), "reload": reload,
            "logs": [name for name, _, _, log in CHARTS if log]}


def script(runs, reload):
    """Returns the elements that hold the curves and draw them."""
    data = json.dumps(curves(runs, reload), separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")
    code = (pathlib.Path(__file__).parent / "charts.js").read_text()
    return f'<script type="application/json" id="data">{data}</script>\n<script>\n{code}</script>'


def scores(runs):
    """Returns the table of what each run has reached."""
    unit = units_of(runs)[0]
    name = {"bpc": "bpc", "ppl": "perplexity", "nats": "nats"}[unit]
    rows, bests = [], []
    for run in runs:
        best = run.best_dev()
        bests.append(best[1] if best else math.inf)
        tokens, flops = (run.steps["tokens"] or [0])[-1], run.facts.get("flops_per_token")
        seconds = (run.steps["seconds"] or [0])[-1]
        memory = max((value for value in run.steps["memory_bytes"] if value is not None), default=0)
        losses = [loss for loss in run.steps["loss"][-LAST_STEPS:] if loss is not None]
        rows.append([run.label, run.state(), in_unit(math.fsum(losses) / len(losses) if losses else None, unit),
                     f"{in_unit(best[1], unit)} at {best[0]:,}" if best else in_unit(run.stop_dev, unit),
                     in_unit(run.test if run.test is not None else run.stop_test, unit),
                     f"{run.facts['parameters']:,}" if "parameters" in run.facts else "-", f"{tokens:,}",
                     f"{tokens * flops:.3g}" if flops else "-", duration(seconds),
                     f"{tokens / seconds:,.0f}" if seconds else "-", f"{memory / 1e6:,.0f}" if memory else "-",
                     f"{run.skipped:,}"])
    least = min(bests)
    classes = ["best" if len(runs) > 1 and best == least < math.inf else "" for best in bests]
    head = ["run", "state", f"train {name}", f"best dev {name}", f"test {name}", "parameters", "tokens",
            "FLOPs", "training time", "tokens/s", "memory, MB", "skipped"]
    if any(run.level == "subword" for run in runs):  # what compares with models of bytes
        head[5:5] = ["best dev bits per byte", "test bits per byte"]
        for run, row in zip(runs, rows):
            row[5:5] = [f"{bits:.4f}" if bits is not None else "-"
                        for bits in (run.bits_per_byte("dev"), run.bits_per_byte("test"))]
    parts = [page.table(head, rows, classes=classes),
             page.paragraph(f"Train is the mean over the last {LAST_STEPS} steps; test is of the weights with the best "
                            "dev. Lower is better. A run that was stopped shows the scores that it was stopped with.")]
    if any(run.unknown for run in runs):
        parts.append(page.paragraph("Words that the vocabulary lacks, read as <unk>: " + "; ".join(
            f"{run.label}: " + ", ".join(f"{share:.2%} of {split}" for split, share in run.unknown.items()
                                         if share is not None) for run in runs if run.unknown) + "."))
    for run in runs:
        if run.end and run.end["end"] == "early_stop":
            parts.append(page.paragraph(f"{run.label} stopped early: its last {run.end['evaluations']} evaluations "
                                        f"were no better than that of step {run.end['best_step']:,}."))
        if run.end and run.end.get("suggested_lr"):
            parts.append(page.paragraph(f"{run.label} looked for a learning rate: suggested is "
                                        f"{run.end['suggested_lr']:.2g}."))
    return parts


def duration(seconds):
    """Returns "7 s", "4 min 32 s" or "2 h 05 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


def samples(runs):
    """Returns the samples of each run, the latest first and open."""
    parts = []
    for run in runs:
        for i, (step, weights, prompt, text) in enumerate(reversed(run.samples)):
            of = f", of the weights of step {weights:,}" if weights is not None and weights != step else ""
            opened = " open" if i == 0 else ""
            parts.append(f"<details{opened}><summary>{page.escaped(run.label)}, step {step:,}{of}</summary>"
                         f"<pre><b>{page.escaped(prompt)}</b>{page.escaped(text)}</pre></details>")
    return [page.heading("Samples"), *parts] if parts else []


def commands(runs):
    """Returns the commands that began and resumed the runs."""
    parts = []
    for run in runs:
        for start in run.facts.get("starts", []):
            where = f"from step {start['step']:,}" if start["step"] else "from the beginning"
            parts += [page.paragraph(f"{run.label}, {where}, {start['time']}, {start['device']}, "
                                     f"{start['ranks']} process{'es' if start['ranks'] != 1 else ''}, in "
                                     f"{start['folder']}:"), page.code(start["command"])]
    return [page.heading("Commands"), *parts] if parts else []


def configurations(runs):
    """Returns the tables of settings: those that differ between the runs, then the others."""
    known = [run for run in runs if run.config]
    names = list(dict.fromkeys(name for run in known for name in run.config))
    if not names:
        return []
    rows = {name: [text_of(run.config.get(name)) for run in known] for name in names}
    differ = [name for name in names if len(set(rows[name])) > 1]
    head = ["setting", *(run.label for run in known)]
    parts = [page.heading("Configuration")]
    if differ:
        parts.append(page.table(head, [[name, *rows[name]] for name in differ], "left",
                                ["differs"] * len(differ)))
    elif len(known) > 1:
        parts.append(page.paragraph("The runs have the same settings."))
    equal = [[name, rows[name][0]] for name in names if name not in differ]
    title = "Settings that all runs share" if len(known) > 1 else "All settings"
    return [*parts, page.folded(title, page.table(["setting", "value"], equal, "left"))]


def text_of(value):
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def report(runs, reload=0):
    """Returns the page of some runs, which loads itself again after `reload` seconds; 0: it does not."""
    title = runs[0].label if len(runs) == 1 else f"{len(runs)} runs"
    drawn = [page.heading("Curves"), '<div id="controls"></div><div id="charts"></div>',
             "<noscript>The curves are drawn by a script in this page, which this browser does not run.</noscript>",
             page.paragraph("Dragging zooms, a double click shows everything again. Time is that of training steps, "
                            "without evaluations.")]
    return page.page(title, [*scores(runs), *drawn, *samples(runs), *commands(runs), *configurations(runs)],
                     style=STYLE, script=script(runs, reload))
