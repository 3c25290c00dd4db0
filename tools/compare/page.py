"""Pages of compare_models and report: one file each, for wide and narrow screens, light and dark."""
import html
import shlex

# Colours of curves, which show on white and on black.
CURVES = ("#2f7ed8", "#d9722e", "#3a9d5d", "#c84a5a", "#8b6fc4", "#97705f", "#cf6db0", "#8a8f98", "#a59a1f", "#26a3b5")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root {{ --ink: #1d2330; --paper: #ffffff; --line: #d8dce3; --soft: #f2f4f7; --mark: #e7f0fb }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #dfe3ea; --paper: #14171d; --line: #3a414d; --soft: #1f242d; --mark: #1d2c40 }}
}}
body {{ font: 15px/1.55 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper) }}
h1 {{ line-height: 1.2 }} h2 {{ margin-top: 2.2rem }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
th, td {{ padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }}
th:first-child, td:first-child {{ min-width: 6rem; overflow-wrap: anywhere }}
th:first-child, td:first-child, .left td, .left th {{ text-align: left }}
.numbers td:not(:first-child) {{ white-space: nowrap }}
tr.best td {{ font-weight: 600 }} tr.reference td {{ background: var(--mark) }}
svg {{ max-width: 100%; width: 44rem; height: auto; display: block }}
code {{ background: var(--soft); padding: .1rem .3rem; border-radius: .2rem; overflow-wrap: anywhere }}
summary {{ cursor: pointer; margin: .6rem 0 }}
@media (max-width: 40rem) {{ body {{ margin: 1rem auto; padding: 0 .7rem; font-size: 14px }}
  th, td {{ padding: .25rem .4rem }} }}
{style}</style></head><body>
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
    return PAGE.format(title=html.escape(title), body="\n".join(parts), style=style, script=script)
