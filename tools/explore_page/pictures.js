// Draws: small elements, colours, heat maps on a canvas, arcs over a line of text.
"use strict";
const pictures = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, attributes = {}, ...content) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...content);
    return made;
  }
  function svg(tag, attributes = {}, ...content) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...content);
    return made;
  }

  // Returns the red, green and blue of a colour of the style, as it is now: light or dark.
  function colour(name) {
    const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    if (!text.startsWith("#")) return text.split(",").map(Number);
    return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  }
  function mixed(from, to, share) {
    return from.map((value, i) => Math.round(value + (to[i] - value) * share));
  }

  // Draws rows x columns cells, each of the colour [red, green, blue] that `at(row, column)` returns.
  function heat(canvas, rows, columns, at) {
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    for (let row = 0, i = 0; row < rows; ++row)
      for (let column = 0; column < columns; ++column, i += 4) {
        image.data.set(at(row, column), i);
        image.data[i + 3] = 255;
      }
    context.putImageData(image, 0, 0);
  }
  // Returns the cell of a canvas under the pointer.
  function cell(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const part = (value, size, count) => Math.min(count - 1, Math.max(0, Math.floor(value / size * count)));
    return {row: part(event.clientY - box.top, box.height, canvas.height),
      column: part(event.clientX - box.left, box.width, canvas.width)};
  }
  // Marks a row or a column of a canvas.
  function mark(element, index, count, vertical) {
    element.hidden = index === null;
    if (index === null) return;
    const at = `${100 * (index + 0.5) / count}%`;
    element.style.cssText = vertical ? `left:${at};top:0;bottom:0;width:1px` : `top:${at};left:0;right:0;height:1px`;
  }

  // Draws a line of tokens and an arc for each of `links`, {from, to, weight, share (of the largest weight), memory}, above
  // it. Returns the places of the tokens.
  function arcs(box, tokens, links, segments, chosen) {
    const TOP = 150, WIDE = 8.2, places = [];
    let x = 6;
    for (const token of tokens) {
      const width = Math.max(10, 4 + WIDE * token.length);
      places.push(x + width / 2);
      x += width;
    }
    const drawn = svg("svg", {width: x + 6, height: TOP + 34, viewBox: `0 0 ${x + 6} ${TOP + 34}`, role: "img",
      "aria-label": "arcs from the chosen token to the tokens that it looks at"});
    for (const begin of segments.slice(1)) {
      const at = (places[begin - 1] + places[begin]) / 2;
      drawn.append(svg("line", {x1: at, x2: at, y1: 4, y2: TOP + 28}));
    }
    for (const {from, to, weight, share, memory} of links) {
      const a = places[from], b = places[to], high = Math.min(TOP - 12, 14 + Math.abs(a - b) * 0.34);
      const shape = from === to ? `M${a - 4},${TOP} C${a - 14},${TOP - 28} ${a + 14},${TOP - 28} ${a + 4},${TOP}`
        : `M${a},${TOP} C${a},${TOP - high} ${b},${TOP - high} ${b},${TOP}`;
      drawn.append(svg("path", {d: shape, "stroke-width": 0.5 + 3.5 * Math.sqrt(weight), "stroke-opacity": 0.25 + 0.7 * share,
        class: memory ? "from-memory" : ""}));
    }
    tokens.forEach((token, i) => drawn.append(svg("text", {x: places[i], y: TOP + 18, "data-token": i,
      class: i === chosen ? "chosen" : ""}, token)));
    box.replaceChildren(drawn);
    return places;
  }

  return {element, svg, colour, mixed, heat, cell, mark, arcs};
})();
