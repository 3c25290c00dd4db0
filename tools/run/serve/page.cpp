// The page's HTML, style and script.
#include "tandem/tools/run/serve/page.h"

namespace tandem {

const char* const kPagePolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char* const kPage = R"page(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tandem</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<style>
:root { --ink: #1d2330; --paper: #ffffff; --line: #d8dce3; --soft: #f2f4f7; --faint: #5d6675; --act: #2163b0; --on-act: #ffffff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe3ea; --paper: #14171d; --line: #3a414d; --soft: #1f242d; --faint: #98a1b0; --act: #6fb0f5; --on-act: #10151c }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem;
  color: var(--ink); background: var(--paper) }
header { display: flex; flex-wrap: wrap; gap: 0 .75rem; align-items: baseline; margin-bottom: .75rem }
h1 { font-size: 1.25rem; margin: 0 } #model { color: var(--faint); overflow-wrap: anywhere }
textarea, input { font: inherit; color: inherit; background: var(--soft); border: 1px solid var(--line);
  border-radius: .4rem; padding: .5rem .6rem; width: 100% }
textarea { min-height: 7.5rem; resize: vertical; display: block }
fieldset { border: 0; padding: 0; margin: .75rem 0; display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)) }
label { font-size: .85rem; color: var(--faint) } label input { margin-top: .15rem; color: var(--ink); font-size: 1rem }
button { font: inherit; min-height: 2.75rem; padding: 0 1.1rem; border-radius: .4rem; cursor: pointer;
  border: 1px solid var(--line); background: var(--soft); color: var(--ink) }
button.main { background: var(--act); border-color: var(--act); color: var(--on-act); font-weight: 600 }
button:disabled { opacity: .45; cursor: default }
:focus-visible { outline: 2px solid var(--act); outline-offset: 2px }
.row { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center }
#status { color: var(--faint); font-size: .9rem; font-variant-numeric: tabular-nums }
#status.wrong { color: var(--ink); border-left: 3px solid #c84a5a; padding-left: .6rem }
#output { white-space: pre-wrap; overflow-wrap: anywhere; font: 15px/1.55 ui-monospace, monospace; margin: 1rem 0 0;
  padding: .9rem; background: var(--soft); border-radius: .4rem; min-height: 6rem }
#output .prompt { color: var(--faint) }
</style></head><body>
<header><h1>Tandem</h1><span id="model"></span></header>
<form id="form">
<label for="prompt">Text to continue</label>
<textarea id="prompt" autofocus spellcheck="false"></textarea>
<fieldset>
<label>Length <input id="max_tokens" type="number" min="1" value="400" inputmode="numeric"></label>
<label>Temperature <input id="temperature" type="number" min="0" step="any" value="0.8" inputmode="decimal"></label>
<label>Top p <input id="top_p" type="number" min="0" max="1" step="any" value="1" inputmode="decimal"></label>
<label>Seed <input id="seed" type="number" step="1" placeholder="any" inputmode="numeric"></label>
<label>Stop before <input id="stop" placeholder="nothing" autocapitalize="off" autocomplete="off"></label>
</fieldset>
<div class="row"><button class="main" id="go">Continue</button>
<button type="button" id="halt" disabled>Stop</button>
<button type="button" id="take" disabled>Use as text</button>
<span id="status" role="status"></span></div>
</form>
<pre id="output" aria-label="The text as the model continues it"></pre>
<script>
"use strict";
const at = id => document.getElementById(id);
let running = null, prompt = "", text = "";

fetch("v1/models").then(r => r.json()).then(list => {
  at("model").textContent = list.data[0].id;
  document.title = list.data[0].id + " - Tandem";
}).catch(() => {});

function say(message, wrong = false) {
  at("status").textContent = message;
  at("status").className = wrong ? "wrong" : "";
}

function show() {
  const before = document.createElement("span");
  before.className = "prompt";
  before.textContent = prompt;
  at("output").replaceChildren(before, text);
  at("take").disabled = !text || running !== null;
}

function request() {
  const asked = {prompt: at("prompt").value, stream: true, stream_options: {include_usage: true}};
  for (const field of ["max_tokens", "temperature", "top_p", "seed"])
    if (at(field).value !== "") asked[field] = Number(at(field).value);
  if (at("stop").value) asked.stop = at("stop").value.replaceAll("\\n", "\n");
  return asked;
}

// Calls each(object) for the events of a stream until its last one.
async function read(body, each) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = "";;) {
    const {done, value} = await reader.read();
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      each(JSON.parse(data));
    }
  }
}

async function run() {
  running = new AbortController();
  at("go").disabled = true;
  at("halt").disabled = false;
  prompt = at("prompt").value;
  text = "";
  show();
  say("reading the text");
  const start = performance.now();
  let first = 0;
  try {
    const answer = await fetch("v1/completions", {method: "POST", signal: running.signal,
      headers: {"Content-Type": "application/json"}, body: JSON.stringify(request())});
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    await read(answer.body, event => {
      if (event.error) throw new Error(event.error.message);
      if (event.choices.length) text += event.choices[0].text;
      first = first || performance.now();
      const seconds = (performance.now() - first) / 1000;
      if (event.usage) say(`${event.usage.completion_tokens} tokens` +
        (seconds > 0.05 ? `, ${Math.round(event.usage.completion_tokens / seconds)} a second` : ""));
      else say(`${((performance.now() - start) / 1000).toFixed(1)} s`);
      show();
    });
  } catch (error) {
    error.name === "AbortError" ? say("stopped") : say(error.message, true);
  }
  running = null;
  at("go").disabled = false;
  at("halt").disabled = true;
  show();
}

at("form").addEventListener("submit", event => {
  event.preventDefault();
  if (!running) run();
});
at("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
});
at("halt").addEventListener("click", () => running && running.abort());
at("take").addEventListener("click", () => {
  at("prompt").value = prompt + text;
  at("prompt").focus();
  at("prompt").scrollTop = at("prompt").scrollHeight;
});
</script></body></html>
)page";

}  // namespace tandem
