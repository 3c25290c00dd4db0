"""Plots of the dev loss as SVG that takes its colours of text and lines from the page."""
import io
import re

from compare.files import Failure
from compare.page import CURVES

try:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text, which is smaller than outlines
    from matplotlib import pyplot
except ImportError as error:
    raise Failure("needs matplotlib; install Debian's python3-matplotlib") from error

# Colours that stand for those of the page, and are replaced by them.
INK, GRID = "#010203", "#040506"
PAGE_COLOURS = {INK: "currentColor", GRID: "var(--line)"}
STYLE = {"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
         "grid.color": GRID, "figure.facecolor": "none", "axes.facecolor": "none", "font.size": 11}


def plot(results, cost, label, unit, metric):
    """Returns a plot of the dev loss against a cost: "seconds", "flops" or "tokens". A line is the mean over seeds, a
    band reaches from the best to the worst."""
    with matplotlib.rc_context(STYLE):
        matplotlib.rcParams["svg.hashsalt"] = cost  # keeps the ids of the plots of one page apart
        figure, axes = pyplot.subplots(figsize=(7, 4.2))
        reached = []
        for result, colour in zip(results, CURVES * (1 + len(results) // len(CURVES))):
            band = result.band(unit)
            at = [step * result.costs()[cost] for step, _ in band]
            reached += at
            axes.plot(at, [spread.mean for _, spread in band], marker="o", markersize=3, linewidth=1.6, color=colour,
                      label=result.label)
            if len(result.runs) > 1:
                axes.fill_between(at, [spread.low for _, spread in band], [spread.high for _, spread in band],
                                  color=colour, alpha=0.25, linewidth=0)
        axes.set_xlabel(label)
        axes.set_ylabel(f"dev {metric}")
        if max(reached) > 100 * min(reached):  # a smaller range would give a logarithmic axis few ticks
            axes.set_xscale("log")
        axes.grid(True, which="both", linewidth=0.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        longest = max(len(result.label) for result in results)
        axes.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16),
                    ncol=1 if longest > 36 else 2 if longest > 20 else 3)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
        pyplot.close(figure)
    svg = text.getvalue()[text.getvalue().index("<svg"):]
    for colour, of_page in PAGE_COLOURS.items():
        svg = svg.replace(colour, of_page)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, 1), 1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="dev {metric} against {label}" ', 1)
