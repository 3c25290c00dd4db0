// Unpacks what explore wrote into the page: "data" becomes tokens, predictions, attention and series by step. Step s reads
// token s and predicts token s + 1.
"use strict";
const explored = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  function bytes(text) {
    const raw = atob(text), all = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; ++i) all[i] = raw.charCodeAt(i);
    return all;
  }
  function floats(text) {
    return new Float32Array(bytes(text).buffer);
  }
  // Returns the largest of many numbers, which Math.max() would not take as arguments.
  function largest(values) {
    let most = -Infinity;
    for (const value of values) most = Math.max(most, value);
    return most;
  }

  // Weights are stored as bytes, 255 for the largest of a query and head: those of one query after another, and of its heads.
  class Attention {
    constructor(packed) {
      Object.assign(this, {layer: packed.layer, name: packed.name, heads: packed.heads, first: packed.first});
      this.codes = bytes(packed.weights);
      this.largest = floats(packed.largest);
      this.entropies = floats(packed.entropy);
      this.steps = packed.first.length;
      this.summaries = new Map();
      this.receivedBy = new Map();
      this.offsets = [0];
      for (let s = 0; s < this.steps; ++s) this.offsets.push(this.offsets[s] + this.heads * this.keys(s));
    }
    // Returns the number of keys that a query sees, the last of which is its own.
    keys(step) {
      return step - this.first[step] + 1;
    }
    // Returns the weights of a query: of one head, or "mean" or "max" over all heads.
    row(step, head) {
      const n = this.keys(step), all = new Float32Array(n);
      const heads = typeof head === "number" ? [head] : [...Array(this.heads).keys()];
      for (const h of heads) {
        const unit = this.largest[step * this.heads + h] / 255, at = this.offsets[step] + h * n;
        for (let k = 0; k < n; ++k) {
          const weight = unit * this.codes[at + k];
          if (head === "max") all[k] = Math.max(all[k], weight);
          else all[k] += weight / heads.length;
        }
      }
      return all;
    }
    // Returns the entropy of a query's weights in bits: of one head, or the mean or the largest over all heads.
    entropy(step, head) {
      const all = this.entropies.subarray(step * this.heads, (step + 1) * this.heads);
      if (typeof head === "number") return all[head];
      return head === "max" ? Math.max(...all) : all.reduce((sum, x) => sum + x, 0) / this.heads;
    }
    // Returns the mean weight that each token gets from the queries that see it.
    received(head) {
      if (!this.receivedBy.has(head)) this.receivedBy.set(head, this.meanReceived(head));
      return this.receivedBy.get(head);
    }
    meanReceived(head) {
      const sums = new Float64Array(this.steps), queries = new Float64Array(this.steps);
      for (let s = 0; s < this.steps; ++s)
        this.row(s, head).forEach((weight, k) => {
          sums[this.first[s] + k] += weight;
          queries[this.first[s] + k] += 1;
        });
      return sums.map((sum, i) => queries[i] ? sum / queries[i] : 0);
    }
    // Returns the averages of a head: its entropy, the weight on memory, on the token itself, and how far back it looks.
    summary(head) {
      if (!this.summaries.has(head)) this.summaries.set(head, this.summed(head));
      return this.summaries.get(head);
    }
    summed(head) {
      const all = {entropy: 0, memory: 0, own: 0, distance: 0};
      for (let s = 0; s < this.steps; ++s) {
        const begin = segmentOf(s), row = this.row(s, head);
        all.entropy += this.entropy(s, head) / this.steps;
        all.own += row[row.length - 1] / this.steps;
        row.forEach((weight, k) => {
          all.distance += weight * (row.length - 1 - k) / this.steps;
          if (this.first[s] + k < begin) all.memory += weight / this.steps;
        });
      }
      return all;
    }
  }

  // Values are stored as bytes from `low` to `high`: all units of one step after another.
  class Series {
    constructor(packed) {
      Object.assign(this, packed);
      this.codes = bytes(packed.values);
      this.steps = this.codes.length / this.stored;
    }
    value(step, unit) {
      return this.low + (this.high - this.low) * this.codes[step * this.stored + unit] / 255;
    }
    mean(step) {
      let sum = 0;
      for (let u = 0; u < this.stored; ++u) sum += this.value(step, u);
      return sum / this.stored;
    }
    // Returns the units by their number, by their mean, or by how much they change.
    order(by) {
      const units = [...Array(this.stored).keys()];
      if (by === "index") return units;
      const keys = units.map((u) => {
        let sum = 0, squares = 0;
        for (let s = 0; s < this.steps; ++s) {
          sum += this.value(s, u);
          squares += this.value(s, u) ** 2;
        }
        return by === "mean" ? sum : squares - sum * sum / this.steps;
      });
      return units.sort((a, b) => keys[b] - keys[a]);
    }
  }

  // Returns the first step of the segment that a step belongs to.
  function segmentOf(step) {
    let begin = 0;
    for (const segment of data.segments) if (segment <= step) begin = segment;
    return begin;
  }

  return {...data, segmentOf, largest, steps: data.nats.length, bits: data.nats.map((nats) => nats / Math.LN2),
    attention: data.attention.map((packed) => new Attention(packed)),
    series: data.series.map((packed) => new Series(packed))};
})();
