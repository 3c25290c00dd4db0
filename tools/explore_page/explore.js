// The page of explore: the text coloured, the chosen token, attention, gates and states over time, numbers of the layers.
// A section for which the model has nothing stays hidden.
"use strict";
(() => {
  const {element, svg, colour, mixed, heat, cell, mark, arcs} = pictures;
  const find = (id) => document.getElementById(id);
  const words = explored.level === "word";
  const MOST_BITS = explored.level === "byte" ? 8 : 16;
  const spans = [];
  const state = {token: Math.min(explored.steps - 1, Math.floor(explored.steps * 0.75)), colour: "surprise", layer: 0,
    head: "mean", series: 0, order: "index"};
  let units = [];  // those of the series that is shown, in their order

  // Texts: how labels, numbers and places are written.
  function shown(label) {
    return {"\n": "\u21b5", "\t": "\u21e5", " ": "\u2423", "": "\u00b7"}[label] ?? label;
  }
  function number(value, digits = 3) {
    return value === 0 ? "0" : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5 ? value.toExponential(1)
      : String(Number(value.toPrecision(digits)));
  }
  function percent(p) {
    return p >= 0.001 ? `${(100 * p).toFixed(p < 0.1 ? 2 : 1)} %` : `${number(100 * p, 2)} %`;
  }
  function place(i) {
    return `${shown(explored.tokens[i])}  (${i})`;
  }
  function headName() {
    const heads = attention().heads;
    return heads === 1 ? "one head" : typeof state.head === "number" ? `head ${state.head + 1}` : `${state.head} of ${heads} heads`;
  }

  // These functions return the values that are chosen now. A token has a step if the model read it; it only predicted the last.
  function attention() {
    return explored.attention[state.layer];
  }
  function step() {
    return state.token < explored.steps ? state.token : null;
  }

  // The text.
  function makeText() {
    const box = find("text"), begins = new Set(explored.segments.slice(1));
    box.classList.toggle("words", words);
    explored.tokens.forEach((label, i) => {
      const span = element("span", {role: "option", "data-token": i, "aria-selected": "false", id: `token-${i}`});
      if (label === "\n") {
        span.append(element("span", {class: "end"}, "\u21b5"));
      } else {
        span.append(label === "" ? "\u00b7" : label === "\t" ? "\u21e5" : label);
      }
      if (begins.has(i)) span.classList.add("start");
      spans.push(span);
      box.append(span, label === "\n" ? "\n" : words ? " " : "");
    });
    box.addEventListener("click", (event) => choose(tokenOf(event.target)));
    box.addEventListener("mousemove", (event) => {
      const i = tokenOf(event.target);
      tip(event, i === null ? null : `${place(i)}: ${score(i)}`);
    });
    box.addEventListener("keydown", (event) => {
      const to = {ArrowLeft: state.token - 1, ArrowRight: state.token + 1, Home: 0, End: explored.tokens.length - 1}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(Math.min(explored.tokens.length - 1, Math.max(0, to)));
    });
  }
  function tokenOf(target) {
    const found = target.closest?.("[data-token]");
    return found ? Number(found.dataset.token) : null;
  }
  function score(i) {
    if (i === 0) return "the first token is not predicted";
    return `${percent(Math.exp(-explored.nats[i - 1]))}, rank ${explored.ranks[i - 1]}, ${explored.bits[i - 1].toFixed(2)} bits`;
  }

  // Each colouring gives the strength of a token, 0 to 1, and names the ends of its scale.
  const COLOURS = {
    surprise: {label: "surprise", name: "--heat", least: "0 bits", values: () => ({
      most: `${MOST_BITS} bits or more`, of: explored.tokens.map((_, i) => i ? explored.bits[i - 1] / MOST_BITS : 0)})},
    looks: {label: "where the chosen token looks", name: "--own", least: "0", values: () => {
      const of = explored.tokens.map(() => 0), s = step();
      if (s === null) return {most: "-", of};
      const row = attention().row(s, state.head), most = explored.largest(row);
      row.forEach((weight, k) => { of[attention().first[s] + k] = Math.sqrt(weight / most); });
      return {most: percent(most), of};
    }},
    received: {label: "attention received", name: "--own", least: "0", values: () => {
      const all = attention().received(state.head), sorted = [...all].sort((a, b) => a - b);
      const most = sorted[Math.floor(0.98 * (sorted.length - 1))] || 1;
      return {most: `${percent(most)} on average`, of: explored.tokens.map((_, i) => Math.sqrt((all[i] ?? 0) / most))};
    }},
    entropy: {label: "entropy of its attention", name: "--own", least: "0 bits", values: () => {
      const all = explored.tokens.map((_, i) => i < explored.steps ? attention().entropy(i, state.head) : 0);
      const most = explored.largest(all) || 1;
      return {most: `${number(most)} bits`, of: all.map((value) => value / most)};
    }},
  };
  function colourText() {
    const {name, least, values} = COLOURS[state.colour], {most, of} = values();
    const s = step(), memory = state.colour === "looks" && s !== null ? explored.segmentOf(s) : 0;
    spans.forEach((span, i) => {
      const share = Math.min(1, of[i]), remembered = i < memory && share > 0.05;
      span.style.background = `rgba(var(${remembered ? "--memory" : name}), ${(0.85 * share).toFixed(3)})`;
      span.classList.toggle("from-memory", remembered);
      span.classList.toggle("chosen", i === state.token);
      span.setAttribute("aria-selected", String(i === state.token));
    });
    find("least").textContent = least;
    find("most").textContent = most;
    find("scale").style.background = `linear-gradient(to right, rgba(var(${name}), 0), rgba(var(${name}), .85))`;
  }

  // The chosen token.
  function likeliest(s, right) {
    const rows = explored.likeliest[s].map(([id, p]) => {
      const row = element("tr", id === right ? {class: "right"} : {},
        element("td", {}, percent(p)), element("td", {class: "tokens"}, shown(explored.pieces[id])),
        element("td", {}, element("span", {class: "bar", style: `width: ${(7 * p).toFixed(2)}rem`})));
      row.children[0].style.cssText = "min-width: 4.5rem; text-align: right";
      row.children[1].style.textAlign = row.children[2].style.textAlign = "left";
      return row;
    });
    return element("table", {}, element("tbody", {}, ...rows));
  }
  function showToken() {
    const i = state.token, last = explored.tokens.length - 1;
    const parts = [element("h3", {class: "tokens"}, place(i)), element("div", {id: "score"}, score(i))];
    if (i < last)
      parts.push(element("h3", {}, "Likeliest after it"), likeliest(i, explored.ids[i + 1]));
    else parts.push(element("p", {class: "note"}, "The model predicted this last token, and did not read it."));
    if (i > 0) {
      const instead = element("details", {}, element("summary", {}, "Likeliest in its place"), likeliest(i - 1, explored.ids[i]));
      instead.open = showToken.open ?? false;
      instead.addEventListener("toggle", () => { showToken.open = instead.open; });
      parts.push(instead);
    }
    find("token").replaceChildren(...parts);
  }

  // Attention.
  function showArcs() {
    const s = step(), layer = attention(), links = [];
    find("arcs-note").textContent = s === null ? "The last token was not read, so it looks nowhere." : "";
    if (s !== null) {
      const row = layer.row(s, state.head), most = explored.largest(row), begin = explored.segmentOf(s);
      const order = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 40).filter((k) => row[k] > 0.02 * most);
      for (const k of order.reverse())
        links.push({from: s, to: layer.first[s] + k, weight: row[k], share: row[k] / most, memory: layer.first[s] + k < begin});
      const sum = order.reduce((total, k) => total + row[k], 0);
      find("arcs-note").textContent = `${place(s)} looks at ${row.length} tokens, ${Math.max(0, begin - layer.first[s])} of them ` +
        `in memory. ${order.length} arcs hold ${percent(Math.min(1, sum))} of the weight (${headName()}); the entropy is ` +
        `${number(layer.entropy(s, state.head))} bits.`;
    }
    const box = find("arcs"), places = arcs(box, explored.tokens.map(shown), links, explored.segments, state.token);
    box.scrollLeft = places[state.token] - box.clientWidth * 0.7;
  }
  function showMatrix() {
    const layer = attention(), canvas = find("matrix"), n = explored.steps;
    const paper = colour("--paper"), soft = colour("--soft"), own = colour("--own"), memory = colour("--memory");
    const rows = [];
    for (let s = 0; s < n; ++s) rows.push(layer.row(s, state.head));
    const begins = rows.map((_, s) => explored.segmentOf(s));
    heat(canvas, n, n, (s, key) => {
      const k = key - layer.first[s];
      if (k < 0 || k >= rows[s].length) return paper;
      return mixed(soft, key < begins[s] ? memory : own, Math.sqrt(rows[s][k]));
    });
    canvas.setAttribute("aria-label", `attention of ${layer.layer}, ${headName()}: ${n} queries and keys`);
  }
  function showHeads() {
    const layer = attention(), paper = colour("--paper"), own = colour("--own");
    const most = explored.largest(layer.entropies) || 1;
    heat(find("entropies"), layer.heads, explored.steps, (h, s) => mixed(paper, own, layer.entropy(s, h) / most));
    find("entropies").style.height = `${Math.max(24, Math.min(160, 14 * layer.heads))}px`;
    find("entropies").setAttribute("aria-label", `entropies of ${layer.heads} heads over time, at most ${number(most)} bits`);
    const head = ["head", "entropy, bits", "on memory", "on itself", "looks back, tokens"];
    const rows = ["mean", ...Array(layer.heads).keys()].map((h) => {
      const all = layer.summary(h);
      const row = element("tr", {"data-head": h}, ...[h === "mean" ? "mean" : String(h + 1), all.entropy.toFixed(2),
        percent(all.memory), percent(all.own), all.distance.toFixed(1)].map((text) => element("td", {}, text)));
      row.classList.toggle("chosen", h === state.head);
      return row;
    });
    find("heads").replaceChildren(element("thead", {}, element("tr", {}, ...head.map((text) => element("th", {}, text)))),
      element("tbody", {}, ...rows));
  }
  function fillHeads() {
    const heads = attention().heads, options = [["mean", "mean"], ["max", "largest"]];
    for (let h = 0; h < heads; ++h) options.push([h, `head ${h + 1}`]);
    if (typeof state.head === "number" && state.head >= heads) state.head = "mean";
    find("head").replaceChildren(...options.map(([value, label]) => element("option", {value}, label)));
    find("head").value = state.head;
  }
  function showAttention() {
    if (explored.attention.length === 0) return;
    showMatrix();
    showHeads();
  }

  // Gates and states.
  function showSeries() {
    if (explored.series.length === 0) return;
    const series = explored.series[state.series];
    units = series.order(state.order);
    const signed = series.low < 0, bound = signed ? Math.max(-series.low, series.high) : series.high;
    const paper = colour("--paper"), low = colour("--low"), high = colour("--high");
    const bottom = signed ? 0 : Math.min(series.low, 0);
    heat(find("units"), series.stored, series.steps, (row, s) => {
      const value = series.value(s, units[row]);
      return mixed(paper, value < 0 ? low : high, Math.min(1, Math.abs(value - bottom) / (bound - bottom || 1)));
    });
    find("units").style.height = `${Math.max(60, Math.min(420, 5 * series.stored))}px`;
    find("units").setAttribute("aria-label", `${series.name} of ${series.layer}: ${series.stored} units over ${series.steps} steps`);
    find("value-low").textContent = number(signed ? -bound : bottom);
    find("value-high").textContent = number(bound);
    find("value-scale").style.background = signed ?
      "linear-gradient(to right, rgb(var(--low)), var(--paper), rgb(var(--high)))" :
      "linear-gradient(to right, var(--paper), rgb(var(--high)))";
    find("units-note").textContent = `A row for each unit${state.order === "index" ? "" : ", sorted,"} and a column for each ` +
      `token that is read. ` + (series.stored < series.units ? `The first ${series.stored} of ${series.units} units.` : "");
    const means = [...Array(series.steps).keys()].map((s) => series.mean(s));
    const least = -explored.largest(means.map((mean) => -mean)), most = explored.largest(means), range = most - least || 1;
    find("curve-low").textContent = number(least);
    find("curve-high").textContent = number(most);
    find("curve").setAttribute("viewBox", `0 0 ${series.steps} 100`);
    find("curve").replaceChildren(
      svg("polyline", {points: means.map((mean, s) => `${s + 0.5},${(95 - 90 * (mean - least) / range).toFixed(2)}`).join(" ")}),
      svg("line", {id: "curve-mark", y1: 0, y2: 100}));
    showMarks();
  }
  function showMarks() {
    const s = step();
    mark(find("matrix-mark"), s, explored.steps, false);
    mark(find("entropies-mark"), s, explored.steps, true);
    mark(find("units-mark"), s, explored.steps, true);
    const line = find("curve-mark");
    if (line) for (const end of ["x1", "x2"]) line.setAttribute(end, s === null ? -1 : s + 0.5);
  }

  // Numbers of the layers, such as alpha: a table for each name.
  function showNumbers() {
    const names = [...new Set(explored.numbers.map((one) => one.name))];
    find("numbers").hidden = names.length === 0;
    find("numbers").replaceChildren(...names.flatMap((name) => {
      const all = explored.numbers.filter((one) => one.name === name);
      const most = Math.max(...all.map((one) => Math.abs(one.value))) || 1;
      const rows = all.map((one) => element("tr", {}, element("td", {}, one.layer), element("td", {}, number(one.value)),
        element("td", {style: "text-align: left; width: 60%"}, element("span", {class: one.value < 0 ? "bar minus" : "bar",
          style: `width: ${100 * Math.abs(one.value) / most}%`}))));
      return [element("h2", {}, `${name} of each layer`), element("table", {class: "numbers"}, element("tbody", {}, ...rows))];
    }));
  }

  // Choices and the pointer.
  function choose(token) {
    if (token === null) return;
    state.token = token;
    find("text").setAttribute("aria-activedescendant", `token-${token}`);
    colourText();
    showToken();
    if (explored.attention.length > 0) showArcs();
    showMarks();
    const box = find("text"), top = spans[token].offsetTop - box.offsetTop;
    if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - 40) box.scrollTop = top - box.clientHeight / 2;
  }
  function tip(event, text) {
    const box = find("tip");
    box.hidden = !text;
    if (!text) return;
    box.textContent = text;
    box.style.left = `${Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8)}px`;
    box.style.top = `${Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 8)}px`;
  }
  // Lets a canvas tell what is under the pointer, and choose a token at a click.
  function listen(id, text, token) {
    const canvas = find(id);
    canvas.addEventListener("mousemove", (event) => tip(event, text(cell(canvas, event))));
    canvas.addEventListener("click", (event) => choose(token(cell(canvas, event))));
  }
  function chooses(id, key, read, show) {
    find(id).addEventListener("change", () => {
      state[key] = read(find(id).value);
      show();
    });
  }
  function setHead(head) {
    state.head = head;
    find("head").value = head;
    showAttention();
    colourText();
    showArcs();
  }

  function start() {
    find("facts").textContent = explored.facts;
    find("precision").textContent = explored.precision;
    makeText();
    const attends = explored.attention.length > 0;
    const colours = Object.keys(COLOURS).filter((name) => attends || name === "surprise");
    find("colour").replaceChildren(...colours.map((value) => element("option", {value}, COLOURS[value].label)));
    chooses("colour", "colour", String, colourText);
    find("attention").hidden = !attends;
    if (attends) {
      const entropies = explored.attention.map((one) => one.entropies.reduce((sum, x) => sum + x, 0) / one.entropies.length);
      state.layer = entropies.indexOf(-explored.largest(entropies.map((entropy) => -entropy)));  // the most selective one
      find("layer").replaceChildren(...explored.attention.map((one, value) => element("option", {value}, `${one.layer} ${one.name}`)));
      find("layer").value = state.layer;
      fillHeads();
      chooses("layer", "layer", Number, () => {
        fillHeads();
        setHead(state.head);
      });
      chooses("head", "head", (text) => isNaN(text) ? text : Number(text), () => setHead(state.head));
      listen("matrix", ({row, column}) => {
        const k = column - attention().first[row], all = attention().row(row, state.head);
        return k < 0 || k >= all.length ? null : `${place(row)} looks at ${place(column)}: ${percent(all[k])}`;
      }, ({row}) => row);
      listen("entropies", ({row, column}) => `head ${row + 1}, ${place(column)}: ${attention().entropy(column, row).toFixed(2)} bits`,
        ({column}) => column);
      find("heads").addEventListener("click", (event) => {
        const head = event.target.closest("tr")?.dataset.head;
        if (head) setHead(isNaN(head) ? head : Number(head));
      });
      find("arcs").addEventListener("click", (event) => choose(tokenOf(event.target)));
    }
    find("series").hidden = explored.series.length === 0;
    if (explored.series.length > 0) {
      find("value").replaceChildren(...explored.series.map((one, value) => element("option", {value}, `${one.layer} ${one.name}`)));
      chooses("value", "series", Number, showSeries);
      chooses("order", "order", String, showSeries);
      listen("units", ({row, column}) => {
        const value = explored.series[state.series].value(column, units[row]);
        return `unit ${units[row]}, ${place(column)}: ${number(value)}`;
      }, ({column}) => column);
    }
    document.addEventListener("mouseout", () => tip(null, null));
    showNumbers();
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }
  function draw() {
    showAttention();
    showSeries();
    choose(state.token);
  }
  start();
})();
