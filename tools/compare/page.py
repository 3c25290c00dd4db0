"""Pages of compare_models and report: one file each, for wide and narrow screens, light and dark."""
import html
import pathlib
import shlex

# Colours of curves, which show on white and on black.
CURVES = ("#2f7ed8", "#d9722e", "#3a9d5d", "#c84a5a", "#8b6fc4", "#97705f", "#cf6db0", "#8a8f98", "#a59a1f", "#26a3b5")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
{shared}{style}</style></head><body>
<h1>{title}</h1>
{body}
{script}</body></html>
"""


def escaped(text):
    return html.escape(text)


def table(head, rows, name="numbers", classes=None):
    """Returns a table. `rows` are lists of text; classes[i] is the class of row i, or empty."""
    lines = [f'<div class="scroll"><table class="{name}"><thead><tr>'
             + "".join(f"<th>{html.escape(title)}</th>" for title in head) + "</tr></thead><tbody>"]
    for i, row in enumerate(rows):
        of_row = f' class="{classes[i]}"' if classes and classes[i] else ""
        lines.append(f"<tr{of_row}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def paragraph(text):
    return f"<p>{html.escape(text)}</p>"


def heading(text):
    return f"<h2>{html.escape(text)}</h2>"


def folded(summary, content):
    return f"<details><summary>{html.escape(summary)}</summary>\n{content}\n</details>"


def code(words):
    return f"<p><code>{html.escape(shlex.join(words))}</code></p>"


def page(title, parts, style="", script=""):
    """Returns a page. `style` is CSS, and `script` are elements that follow the content."""
    shared = (pathlib.Path(__file__).parent / "page.css").read_text()
    return PAGE.format(title=html.escape(title), body="\n".join(parts), shared=shared, style=style, script=script)
