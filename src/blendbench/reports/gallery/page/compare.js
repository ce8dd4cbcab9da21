"use strict";
// Two configurations at one item and seed: five ways to see how they differ, and every number beside it.
{
  const { data, labels } = gallery;
  const VIEWS = ["side", "slider", "flicker", "difference", "patch_grid"];
  const PATCH_GRID_STEP = 1 / 8; // of a grey level a unit, as written in patch_grid.js
  const PERIOD = 16;
  const TILES = 4;
  const FLICKER = 600; // milliseconds: well below three flashes a second
  const form = $("#compare form");
  const field = (name) => form.elements.namedItem(name);
  const stage = $("#stage");
  const running = $("#running");
  let split = 50;
  let timer = null;
  let at = null; // what is shown: {state, row, a, b}

  const renderers = {
    side: () => {
      stage.append(figure("A", frame(image(at.a, "A"))), figure("B", frame(image(at.b, "B"))));
    },
    slider: () => {
      const under = frame(image(at.a, "A"), image(at.b, "B"), element("i"));
      const range = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: split, id: "split" });
      range.setAttribute("aria-label", "how much of A is shown, in per cent");
      range.addEventListener("input", () => setSplit(Number(range.value)));
      under.classList.add("split");
      under.addEventListener("pointerdown", (event) => under.setPointerCapture(event.pointerId));
      under.addEventListener("pointermove", (event) => {
        const box = under.getBoundingClientRect();
        if (event.buttons) setSplit((100 * (event.clientX - box.left)) / box.width);
      });
      stage.append(figure("slider", under, range));
      setSplit(split);
    },
    flicker: () => {
      const both = frame(image(at.a, "A"), image(at.b, "B"));
      both.classList.add("flicker");
      stage.append(figure("A", both));
      flip(false);
      run();
    },
    difference: () => {
      const canvas = element("canvas", { width: 0, height: 0 });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", "absolute difference of A and B");
      stage.append(figure("difference", frame(canvas)));
      Promise.all([loaded(at.a), loaded(at.b)]).then((both) => subtract(canvas, ...both));
    },
    patch_grid: () => {
      if (gallery.patch_grids === null) {
        const script = element("script", { src: "patch_grid.js" });
        script.addEventListener("load", () => render());
        document.head.append(script);
        return;
      }
      for (const [name, cell] of [["A", at.a], ["B", at.b]]) stage.append(figure(name, ...patch_grid(cell)));
      const explanation = "What repeats every 16 pixels of the brightness, as 4 × 4 periods: blue is darker, orange brighter. In small images the content shows through.";
      stage.append(element("p", { className: "quiet", textContent: explanation }));
    },
  };

  function image(cell, name) {
    const label = name === "A" ? at.state.a : at.state.b;
    return cell && !cell.error ? gallery.image(cell.image, `${name}: ${label}`)
      : element("span", { className: "missing", textContent: cell ? `failed: ${cell.error}` : "not generated" });
  }

  const frame = (...children) => element("div", { className: "frame" }, ...children);

  function figure(name, ...children) {
    const { a, b } = at.state;
    const captions = { A: `A: ${a}`, B: `B: ${b}`, slider: `A: ${a} | B: ${b}`, difference: `|A − B| a colour channel: ${a}, ${b}` };
    return element("figure", {}, element("figcaption", { textContent: captions[name] }), ...children);
  }

  function setSplit(value) {
    split = Math.min(100, Math.max(0, value));
    stage.style.setProperty("--split", `${split}%`);
    if ($("#split")) $("#split").value = split;
  }

  function flip(second) {
    const box = $(".flicker", stage);
    if (!box) return;
    box.classList.toggle("second", second);
    $("figcaption", stage).textContent = second ? `B: ${at.state.b}` : `A: ${at.state.a}`;
  }

  function run() {
    clearInterval(timer);
    const box = $(".flicker", stage);
    if (box && running.checked) timer = setInterval(() => flip(!box.classList.contains("second")), FLICKER);
  }

  async function loaded(cell) {
    const image = cell && !cell.error ? gallery.image(cell.image, "") : null;
    if (!(image instanceof HTMLImageElement)) return null;
    await image.decode();
    return image;
  }

  // A canvas that shows files from a disk may be written but not read. Both steps are exact in 8 bits without reading:
  // the blend mode is |A - B|, and adding an image to itself doubles it.
  function subtract(canvas, a, b) {
    const pen = canvas.getContext("2d");
    if (!a || !b) return;
    canvas.width = a.naturalWidth;
    canvas.height = a.naturalHeight;
    pen.drawImage(a, 0, 0);
    pen.globalCompositeOperation = "difference";
    pen.drawImage(b, 0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "lighter";
    for (let doubled = 0; doubled < Number($("#gain").value); doubled++) pen.drawImage(canvas, 0, 0);
    size(canvas, a.naturalWidth);
  }

  function patch_grid(cell) {
    const name = cell && !cell.error ? gallery.imageName(cell.image) : null;
    if (name === null) return [frame(element("span", { className: "missing", textContent: "no image" }))];
    const units = Int8Array.from(atob(gallery.patch_grids[name]), (character) => character.charCodeAt(0));
    const levels = Array.from(units, (unit) => unit * PATCH_GRID_STEP);
    const side = PERIOD * TILES;
    const canvas = element("canvas", { width: side, height: side, className: "pattern" });
    const pen = canvas.getContext("2d");
    const pixels = pen.createImageData(side, side);
    const full = Number($("#scale").value);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const colour = diverging(levels[(y % PERIOD) * PERIOD + (x % PERIOD)] / full);
        pixels.data.set([...colour, 255], 4 * (y * side + x));
      }
    }
    pen.putImageData(pixels, 0, 0);
    const strength = Math.sqrt(levels.reduce((sum, level) => sum + level * level, 0) / levels.length);
    const range = Math.max(...levels) - Math.min(...levels);
    const measured = `RMS ${strength.toFixed(2)}, range ${range.toFixed(2)} grey levels`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", measured);
    return [frame(canvas), element("p", { className: "measured", textContent: measured })];
  }

  // Blue through white to orange, which colour-blind readers distinguish.
  function diverging(value) {
    const strength = Math.min(1, Math.abs(value));
    const end = value < 0 ? [0, 90, 181] : [214, 94, 0];
    return end.map((channel) => Math.round(255 + (channel - 255) * strength));
  }

  // At a fixed zoom one pixel of the image is a whole number of pixels of the screen.
  function size(image, width) {
    const zoom = Number($("#zoom").value);
    const box = image.closest(".frame");
    box?.style.setProperty("width", zoom ? `${(zoom * width) / devicePixelRatio}px` : "");
    box?.classList.toggle("fixed", zoom > 0);
  }

  function numbers() {
    const head = ["metric", "A", "B", "B − A"].map((textContent) => element("th", { scope: "col", textContent }));
    const lines = data.metrics.map((metric, index) => {
      const { text, word } = gallery.difference(at.a, at.b, index);
      const values = [at.a, at.b].map((cell) => {
        const value = cell?.scores[index];
        const title = typeof value === "string" ? value : "";
        return element("td", { textContent: gallery.number(value, metric), title });
      });
      const direction = metric.direction === "none" ? "" : `, ${metric.direction} is better`;
      const name = element("th", { scope: "row", textContent: metric.title, title: `${metric.name} in ${metric.unit}${direction}` });
      return element("tr", {}, name, ...values, element("td", { className: word, textContent: `${text} ${word}` }));
    });
    $("#numbers thead").replaceChildren(element("tr", {}, ...head));
    $("#numbers tbody").replaceChildren(...lines);
  }

  function notes() {
    const { item } = at.row;
    $("#prompt").textContent = item.prompt;
    const caption = element("figcaption", { textContent: `reference: ${item.caption}${item.relation ? ` (${item.relation})` : ""}` });
    $("#reference").replaceChildren(gallery.image(item.reference, `reference: ${item.caption}`), caption);
    const same = at.a && at.b && at.a.image >= 0 && at.a.image === at.b.image;
    const notes = [
      same && "A and B are the same image.",
      at.b?.noOp && `B has the same conditioning as ${data.baseline}: it did nothing here.`,
      at.a?.noOp && `A has the same conditioning as ${data.baseline}: it did nothing here.`,
      "better, worse: beyond the metric's margin at this one image; the leaderboard decides over all of them.",
    ];
    $("#notes").textContent = notes.filter(Boolean).join(" ");
  }

  function show(state) {
    const row = gallery.row(state.item, state.seed ?? data.seeds[0]);
    clearInterval(timer);
    stage.replaceChildren();
    if (!row || !labels.includes(state.a) || !labels.includes(state.b)) {
      const unknown = !row ? `item ${state.item}, seed ${state.seed}` : labels.includes(state.a) ? state.b : state.a;
      stage.append(element("p", { className: "missing", textContent: `This gallery has no ${unknown}.` }));
      at = null;
      return;
    }
    const view = VIEWS.includes(state.view) ? state.view : "slider";
    at = { state: { ...state, view }, row, a: row.cells[labels.indexOf(state.a)], b: row.cells[labels.indexOf(state.b)] };
    for (const name of ["a", "b", "item", "seed"]) field(name).value = name === "seed" ? row.seed : state[name];
    render();
  }

  function render() {
    if (at === null) return;
    clearInterval(timer);
    stage.replaceChildren();
    const { view } = at.state;
    stage.dataset.view = view;
    for (const button of document.querySelectorAll("#views [data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    }
    for (const label of document.querySelectorAll("#views [data-for]")) label.hidden = label.dataset.for !== view;
    $("#zoom").parentElement.hidden = view === "patch_grid";
    renderers[view]();
    for (const image of stage.querySelectorAll(".frame img")) {
      image.addEventListener("load", () => size(image, image.naturalWidth));
    }
    numbers();
    notes();
  }

  function step(count) {
    const rows = gallery.views.grid.rows();
    const here = rows.indexOf(at.row);
    const { item, seed } = rows[(here + count + rows.length) % rows.length];
    gallery.change({ ...at.state, item: item.id, seed });
  }

  function key(event) {
    if (at === null) return;
    const { state } = at;
    const column = labels.indexOf(state.b);
    const acts = {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ArrowUp: () => gallery.change({ ...state, b: labels[(column - 1 + labels.length) % labels.length] }),
      ArrowDown: () => gallery.change({ ...state, b: labels[(column + 1) % labels.length] }),
      ",": () => setSplit(split - 5),
      ".": () => setSplit(split + 5),
      s: () => gallery.change({ ...state, a: state.b, b: state.a }),
      " ": () => {
        if (running.checked) running.checked = false;
        else flip(!$(".flicker", stage)?.classList.contains("second"));
        run();
      },
    };
    const view = VIEWS[Number(event.key) - 1];
    const act = view && event.key !== " " ? () => gallery.change({ ...state, view }) : acts[event.key];
    if (!act || (event.key === " " && event.target.closest("button, input"))) return;
    event.preventDefault();
    act();
  }

  for (const name of ["a", "b"]) fillSelect(field(name), labels);
  fillSelect(field("item"), data.items.map((i) => i.id), data.items.map((i) => (i.prompt ? `${i.id}: ${i.prompt}` : i.id)));
  fillSelect(field("seed"), data.seeds);
  form.addEventListener("change", () => gallery.change({ ...at?.state, ...Object.fromEntries(new FormData(form)) }));
  form.addEventListener("submit", (event) => event.preventDefault());
  $("#swap").addEventListener("click", () => at && gallery.change({ ...at.state, a: at.state.b, b: at.state.a }));
  $("#previous").addEventListener("click", () => at && step(-1));
  $("#next").addEventListener("click", () => at && step(1));
  for (const button of document.querySelectorAll("#views [data-view]")) {
    button.addEventListener("click", () => at && gallery.change({ ...at.state, view: button.dataset.view }));
  }
  for (const name of ["#zoom", "#gain", "#scale"]) $(name).addEventListener("change", render);
  running.checked = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  running.addEventListener("change", run);
  gallery.views.compare = { show, key, leave: () => clearInterval(timer) };
}
