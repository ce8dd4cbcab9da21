"use strict";
// What all views share. Plain scripts and one global: modules cannot be loaded from a disk (file://).
const gallery = {
  data: null,
  patch_grids: null, // by image name; patch_grid.js is loaded when it is first looked at
  views: {}, // name -> {show(state), key(event)}

  setData(data) {
    const [LABEL, ITEM, SEED] = [0, 1, 2];
    this.data = data;
    this.labels = data.configurations.map((configuration) => configuration.label);
    this.rows = []; // one per item and seed: {item, seed, cells by configuration}
    const byKey = new Map();
    for (const raw of data.cells) {
      const key = `${raw[ITEM]} ${raw[SEED]}`;
      if (!byKey.has(key)) {
        byKey.set(key, { item: data.items[raw[ITEM]], seed: data.seeds[raw[SEED]], cells: [] });
        this.rows.push(byKey.get(key));
      }
      const [, , , id, image, noOp, error, scores] = raw;
      byKey.get(key).cells[raw[LABEL]] = { id, image, noOp: Boolean(noOp), error, scores };
    }
    this.baseline = this.labels.indexOf(data.baseline);
  },

  setPatchGrid(patterns) {
    this.patch_grids = patterns;
  },

  // The address after # is the whole state of the page: reloading and linking keep it.
  state() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  },

  address(state) {
    const set = Object.entries(state).filter(([, value]) => value !== "" && value !== null && value !== undefined);
    return "#" + new URLSearchParams(set);
  },

  go(state) {
    location.hash = this.address(state);
  },

  // Without a step in the history: for what changes with every key.
  change(state) {
    location.replace(this.address(state));
  },

  row(item, seed) {
    return this.rows.find((row) => row.item.id === item && String(row.seed) === String(seed));
  },

  imageName(index) {
    return index < 0 ? null : this.data.images[index];
  },

  // A number with the metric's decimals and a real minus; a reason instead of a number stays a reason.
  number(value, metric, signed = false) {
    if (typeof value !== "number") return "–";
    const text = Math.abs(value).toFixed(metric.decimals);
    const zero = Number(text) === 0;
    return (value < 0 && !zero ? "−" : signed && !zero ? "+" : "") + text;
  },

  // How b differs from a under a metric; `word` only where the difference is beyond the metric's margin.
  difference(a, b, index) {
    const metric = this.data.metrics[index];
    const [first, second] = [a?.scores[index], b?.scores[index]];
    if (typeof first !== "number" || typeof second !== "number") return { text: "–", word: "" };
    const value = second - first;
    const judged = metric.direction !== "none" && Math.abs(value) > metric.margin;
    const word = judged ? ((value > 0) === (metric.direction === "higher") ? "better" : "worse") : "";
    return { value, text: this.number(value, metric, true), word };
  },

  image(index, description) {
    const name = this.imageName(index);
    if (name === null) return element("span", { className: "missing", textContent: "no image" });
    return element("img", { src: name, alt: description, draggable: false, decoding: "async" });
  },
};

const $ = (selector, within = document) => within.querySelector(selector);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function fillSelect(select, values, texts = values) {
  select.replaceChildren(...values.map((value, i) => element("option", { value, textContent: texts[i] })));
}
