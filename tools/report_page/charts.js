// Draws the curves of runs as SVG, from the JSON in #data: one chart for each measure, with a common horizontal axis.
// The pointer shows the values of all runs, dragging it with a mouse zooms, a double click shows everything again.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 260, LEFT = 62, RIGHT = 12, TOP = 10, BOTTOM = 34;
  const UNTRAINED = 0.02;  // part of a run in which the loss falls from far above
  const AXES = {
    step: {label: "steps", value: (run, points, i) => points.step[i], show: count},
    seconds: {label: "training time", value: (run, points, i) => points.seconds[i], show: duration},
    tokens: {label: "tokens", value: (run, points, i) => points.tokens[i], show: count},
    flops: {label: "FLOPs", show: short,
      value: (run, points, i) => run.flops_per_token ? points.tokens[i] * run.flops_per_token : NaN},
    lr: {label: "learning rate", value: (run, points, i) => points.lr_at[i], show: short},
  };
  const UNITS = {
    bpc: {label: "bits per character", of: (nats) => nats / Math.LN2},
    ppl: {label: "perplexity", of: Math.exp},
    nats: {label: "loss, nats a token", of: (nats) => nats},
  };
  const state = {axis: data.axes[0], unit: data.units[0], smoothing: 0, logX: data.axes[0] === "lr",
    logs: new Set(data.logs), hidden: new Set(), range: null};
  const charts = [];

  // A page of a run that goes on loads itself again, and then shows what it has shown before.
  const KEY = "report " + location.pathname;
  function remember() {
    const {logs, hidden, ...plain} = state;
    const kept = {...plain, logs: [...logs], hidden: [...hidden], scroll: window.scrollY};
    try {
      sessionStorage.setItem(KEY, JSON.stringify(kept));
    } catch { /* the browser stores nothing for this page */ }
  }
  function recall() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEY));
      sessionStorage.removeItem(KEY);
    } catch { /* as above */ }
    if (!kept || !data.axes.includes(kept.axis) || !data.units.includes(kept.unit)) return;
    const {logs, hidden, scroll, ...plain} = kept;
    Object.assign(state, plain, {logs: new Set(logs), hidden: new Set(hidden)});
    window.addEventListener("load", () => window.scrollTo(0, scroll));
  }
  if (data.reload) {
    recall();
    setTimeout(() => {
      remember();
      location.reload();
    }, 1000 * data.reload);
  }

  // Numbers as text.
  function short(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e6 || size < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e")
      : String(Number(value.toPrecision(size >= 1000 ? 6 : 4)));
  }
  function count(value) {
    for (const [scale, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(value) >= scale) return Number((value / scale).toPrecision(4)) + name;
    return short(value);
  }
  function duration(seconds) {
    if (seconds < 60) return Number(seconds.toPrecision(3)) + " s";
    if (seconds < 3600) return Number((seconds / 60).toPrecision(3)) + " min";
    return Number((seconds / 3600).toPrecision(3)) + " h";
  }

  function make(name, attributes, parent, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }
  function html(name, attributes, parent, text) {
    const element = document.createElement(name);
    Object.assign(element, attributes);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  // The exponential moving average of values without its bias towards the first of them; gaps stay gaps.
  function smoothed(values, share) {
    let sum = 0, weight = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = share * sum + (1 - share) * value;
      weight = share * weight + (1 - share);
      return sum / weight;
    });
  }

  // The curves of a chart that are shown now: [{run, name, xs, ys, low, high, marked}].
  function curvesOf(chart) {
    const curves = [];
    const unit = chart.score ? UNITS[state.unit].of : (value) => value;
    const put = (run, points, measure, name, marked) => {
      const pick = (list) => list && list.map((value) => value === null ? null : unit(value));
      const ys = pick(measure.mean);
      if (!ys.some((value) => value !== null)) return;
      const xs = points.step.map((_, i) => AXES[state.axis].value(run, points, i));
      if (xs.some((x) => x === undefined || Number.isNaN(x))) return;  // this run has no such axis
      curves.push({run, name, xs, ys: marked ? ys : smoothed(ys, state.smoothing), marked,
        low: state.smoothing ? null : pick(measure.low), high: state.smoothing ? null : pick(measure.high)});
    };
    for (const run of data.runs) {
      if (state.hidden.has(run.label)) continue;
      if (run.steps[chart.measure]) put(run, run.steps, run.steps[chart.measure], chart.score ? "train" : "", false);
      if (chart.score && run.dev && state.axis !== "lr") put(run, run.dev, run.dev.nats, "dev", true);
    }
    return curves;
  }

  // Positions of marks between low and high: at powers of ten, or at round steps.
  function ticks(low, high, log, most) {
    const found = [];
    if (log) {
      const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
      const decades = Math.log10(high / low);
      const factors = decades > 3 ? [1] : decades > 1.3 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
      for (let power = first; power <= last; ++power)
        for (const factor of factors) {
          const value = factor * 10 ** power;
          if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
        }
      const every = Math.ceil(found.length / most);
      return found.filter((_, i) => i % every === 0);
    }
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step)
      found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
    return found;
  }

  function scaleOf(low, high, log, from, to) {
    const f = log ? Math.log : (value) => value;
    const a = f(low), b = f(high) === a ? a + 1 : f(high);
    const scale = (value) => from + (f(value) - a) / (b - a) * (to - from);
    scale.inverse = (at) => {
      const value = a + (at - from) / (to - from) * (b - a);
      return log ? Math.exp(value) : value;
    };
    return scale;
  }

  function extent(values, log) {
    let low = Infinity, high = -Infinity;
    for (const value of values)
      if (value !== null && Number.isFinite(value) && !(log && value <= 0)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    if (low > high) return null;
    if (low === high) return log ? [low / 2, high * 2] : [low - Math.abs(low || 1) / 10, low + Math.abs(low || 1) / 10];
    return log ? [low / 1.05, high * 1.05] : [low - (high - low) * 0.04, high + (high - low) * 0.04];
  }

  function path(curve, ys, x, y, usable) {
    let text = "", pen = "M";
    curve.xs.forEach((at, i) => {
      if (ys[i] === null || !usable(at, ys[i])) return void (pen = "M");
      text += pen + x(at).toFixed(1) + "," + y(ys[i]).toFixed(1);
      pen = "L";
    });
    return text;
  }

  function draw(chart) {
    const width = Math.max(280, chart.box.clientWidth), logX = state.logX, logY = state.logs.has(chart.measure);
    const svg = chart.svg;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.style.height = HEIGHT + "px";
    chart.title.textContent = chart.score ? UNITS[state.unit].label : chart.label;
    svg.setAttribute("aria-label", `${chart.title.textContent} against ${AXES[state.axis].label}`);
    chart.curves = curvesOf(chart);
    chart.tip.hidden = true;
    const all = chart.curves.flatMap((curve) => curve.xs);
    const whole = extent(all, logX);
    chart.section.hidden = whole === null || chart.measure === state.axis;
    if (chart.section.hidden) return;
    let xs = state.range || [logX ? whole[0] : Math.max(0, Math.min(...all)), Math.max(...all)];
    if (xs[0] >= xs[1]) xs = whole;
    // The axis of a loss leaves its first fall out, so that what comes after it can be told apart; a zoom shows it.
    const begin = chart.score && !state.range && !logX && !logY ? xs[0] + UNTRAINED * (xs[1] - xs[0]) : xs[0];
    const extentFrom = (least) => extent(chart.curves.flatMap((curve) =>
      curve.ys.filter((_, i) => curve.xs[i] >= least && curve.xs[i] <= xs[1])), logY);
    const ys = extentFrom(begin) || extentFrom(xs[0]);
    if (ys === null) return;
    const x = chart.x = scaleOf(xs[0], xs[1], logX, LEFT, width - RIGHT);
    const y = chart.y = scaleOf(ys[0], ys[1], logY, HEIGHT - BOTTOM, TOP);
    for (const value of ticks(ys[0], ys[1], logY, 6)) {
      make("line", {x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid"}, svg);
      make("text", {x: LEFT - 6, y: y(value) + 4, "text-anchor": "end"}, svg, (chart.whole ? count : short)(value));
    }
    for (const value of ticks(xs[0], xs[1], logX, width / 110)) {
      make("line", {x1: x(value), x2: x(value), y1: TOP, y2: HEIGHT - BOTTOM, class: "grid"}, svg);
      make("text", {x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle"}, svg, AXES[state.axis].show(value));
    }
    make("text", {x: width - RIGHT, y: HEIGHT - 2, "text-anchor": "end"}, svg, AXES[state.axis].label);
    const clip = "clip-" + chart.measure;
    make("rect", {x: LEFT, y: TOP - 4, width: width - RIGHT - LEFT, height: HEIGHT - BOTTOM - TOP + 8},
      make("clipPath", {id: clip}, svg));
    const area = make("g", {"clip-path": `url(#${clip})`}, svg);
    const usable = (at, value) => Number.isFinite(value) && !(logX && at <= 0) && !(logY && value <= 0);
    for (const curve of chart.curves) {
      const colour = curve.run.colour;
      if (curve.low && curve.high) {
        const low = path(curve, curve.low, x, y, usable), high = path({...curve, xs: [...curve.xs].reverse()},
          [...curve.high].reverse(), x, y, usable);
        if (low && high && low.lastIndexOf("M") === 0 && high.lastIndexOf("M") === 0)
          make("path", {d: low + "L" + high.slice(1) + "Z", fill: colour, opacity: 0.15}, area);
      }
      make("path", {d: path(curve, curve.ys, x, y, usable), fill: "none", stroke: colour,
        "stroke-width": curve.marked ? 2 : 1.3,
        opacity: chart.score && !curve.marked && state.axis !== "lr" ? 0.6 : 1}, area);
      if (curve.marked)
        curve.xs.forEach((at, i) => {
          if (curve.ys[i] !== null && usable(at, curve.ys[i]))
            make("circle", {cx: x(at), cy: y(curve.ys[i]), r: 2.5, fill: colour}, area);
        });
      const found = curve.run.suggested_lr;
      if (state.axis === "lr" && found && chart.score) {
        make("line", {x1: x(found), x2: x(found), y1: TOP, y2: HEIGHT - BOTTOM, stroke: colour,
          "stroke-dasharray": "5 4"}, area);
        make("text", {x: x(found) + 5, y: TOP + 12}, area, `suggested: ${short(found)}`);
      }
    }
    const hidden = {visibility: "hidden"};
    chart.cursor = make("line", {x1: 0, x2: 0, y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", ...hidden}, svg);
    chart.selection = make("rect", {y: TOP, height: HEIGHT - BOTTOM - TOP, class: "selection", ...hidden}, svg);
  }

  function nearest(curve, at) {
    let best = -1, least = Infinity;
    curve.xs.forEach((x, i) => {
      const distance = Math.abs((state.logX ? Math.log(x / at) : x - at));
      if (curve.ys[i] !== null && distance < least) [best, least] = [i, distance];
    });
    return best;
  }

  // Shows the values at a horizontal position of every chart, and the list of them in the one under the pointer.
  function point(chart, event) {
    const at = chart.x.inverse(positionIn(chart, event));
    for (const other of charts)
      if (other.x && other.cursor)
        for (const [name, value] of [["x1", other.x(at)], ["x2", other.x(at)], ["visibility", "visible"]])
          other.cursor.setAttribute(name, value);
    chart.tip.replaceChildren();
    html("b", {}, chart.tip, `${AXES[state.axis].label} ${AXES[state.axis].show(at)}`);
    for (const curve of chart.curves) {
      const i = nearest(curve, at);
      if (i < 0) continue;
      const line = html("div", {}, chart.tip);
      html("i", {className: "swatch"}, line).style.background = curve.run.colour;
      const value = chart.whole ? count(curve.ys[i]) : short(curve.ys[i]);
      const exact = curve.marked ? ` at ${AXES[state.axis].show(curve.xs[i])}` : "";
      line.append(`${curve.run.label} ${curve.name} ${value}${exact}`);
    }
    chart.tip.hidden = false;
    const box = chart.box.getBoundingClientRect(), left = event.clientX - box.left;
    chart.tip.style.left = left > box.width / 2 ? "auto" : left + 14 + "px";
    chart.tip.style.right = left > box.width / 2 ? box.width - left + 14 + "px" : "auto";
  }
  function positionIn(chart, event) {
    const box = chart.svg.getBoundingClientRect();
    const at = (event.clientX - box.left) * chart.svg.viewBox.baseVal.width / box.width;
    return Math.min(Math.max(at, LEFT), chart.svg.viewBox.baseVal.width - RIGHT);
  }
  function leave() {
    for (const chart of charts) {
      chart.tip.hidden = true;
      if (chart.cursor) chart.cursor.setAttribute("visibility", "hidden");
    }
  }
  function drawAll() {
    for (const chart of charts) draw(chart);
    reset.disabled = state.range === null;
  }

  function listen(chart) {
    let start = null;
    chart.svg.addEventListener("pointerdown", (event) => {
      if (!chart.x) return;
      if (event.pointerType === "mouse") start = positionIn(chart, event);
      else point(chart, event);
    });
    chart.svg.addEventListener("pointermove", (event) => {
      if (!chart.x) return;
      point(chart, event);
      if (start === null) return;
      const at = positionIn(chart, event);
      chart.selection.setAttribute("x", Math.min(start, at));
      chart.selection.setAttribute("width", Math.abs(at - start));
      chart.selection.setAttribute("visibility", "visible");
    });
    window.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const ends = [start, positionIn(chart, event)].sort((a, b) => a - b);
      start = null;
      if (ends[1] - ends[0] < 6) return void chart.selection.setAttribute("visibility", "hidden");
      state.range = ends.map(chart.x.inverse);
      drawAll();
    });
    chart.svg.addEventListener("pointerleave", leave);
    chart.svg.addEventListener("dblclick", () => {
      state.range = null;
      drawAll();
    });
  }

  const controls = document.getElementById("controls");
  function choice(label, names, texts, chosen, set) {
    if (names.length < 2) return;
    const box = html("label", {}, controls, label + " ");
    const select = html("select", {}, box);
    names.forEach((name, i) => html("option", {value: name, selected: name === chosen}, select, texts[i]));
    select.addEventListener("change", () => {
      set(select.value);
      drawAll();
    });
  }
  function tick(parent, label, checked, set) {
    const box = html("label", {}, parent);
    const input = html("input", {type: "checkbox", checked}, box);
    box.append(" " + label);
    input.addEventListener("change", () => {
      set(input.checked);
      drawAll();
    });
    return box;
  }
  const setMember = (set, name, on) => on ? set.add(name) : set.delete(name);

  choice("over", data.axes, data.axes.map((name) => AXES[name].label), state.axis, (value) => {
    state.axis = value;
    state.range = null;
  });
  choice("in", data.units, data.units.map((name) => UNITS[name].label), state.unit, (value) => state.unit = value);
  const box = html("label", {}, controls, "smoothing ");
  const slider = html("input", {type: "range", min: 0, max: 0.99, step: 0.01, value: state.smoothing}, box);
  slider.addEventListener("input", () => {
    state.smoothing = Number(slider.value);
    drawAll();
  });
  tick(controls, "log axis", state.logX, (on) => {
    state.logX = on;
    state.range = null;
  });
  const reset = html("button", {type: "button", disabled: true}, controls, "show all");
  reset.addEventListener("click", () => {
    state.range = null;
    drawAll();
  });
  if (data.runs.length > 1) {
    const legend = html("div", {className: "legend"}, controls);
    for (const run of data.runs) {
      const entry = tick(legend, run.label, !state.hidden.has(run.label),
        (on) => setMember(state.hidden, run.label, !on));
      const swatch = html("i", {className: "swatch"}, entry);
      swatch.style.background = run.colour;
      entry.insertBefore(swatch, entry.lastChild.previousSibling);
    }
  }

  for (const chart of data.charts) {
    chart.section = html("section", {className: "chart"}, document.getElementById("charts"));
    const head = html("header", {}, chart.section);
    chart.title = html("h3", {}, head);
    tick(head, "log", state.logs.has(chart.measure), (on) => setMember(state.logs, chart.measure, on));
    chart.box = html("div", {className: "plot"}, chart.section);
    chart.svg = make("svg", {role: "img"}, chart.box);
    chart.tip = html("div", {className: "tip", hidden: true}, chart.box);
    charts.push(chart);
    listen(chart);
  }
  drawAll();
  window.addEventListener("resize", drawAll);
})();
