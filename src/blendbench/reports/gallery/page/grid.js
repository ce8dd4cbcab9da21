"use strict";
// All images: a row per item and seed, a column per configuration. Rows are filled when they come near the window.
{
  const { data, rows, labels, baseline } = gallery;
  const form = $("#filters form");
  const field = (name) => form.elements.namedItem(name);
  const body = $("#grid tbody");
  let shown = { rows: [], columns: [], metric: 0, passes: null };
  let rendered = null; // the state that the table shows

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        fill(target, shown.rows[Number(target.dataset.row)]);
      }
    },
    { root: $("#scroller"), rootMargin: "800px 0px" },
  );

  // Which columns and which cells pass; a function of the state alone.
  function chosen(state) {
    const metric = Math.max(0, data.metrics.findIndex((entry) => entry.name === state.metric));
    const [least, most] = [state.min, state.max].map((text) => (text ? Number(text) : null));
    const split = (text) => (text || "").toLowerCase().split(/[\s,]+/).filter(Boolean);
    const [wantedLabels, wantedItems] = [split(state.columns), split(state.find)];
    const exact = labels.indexOf(state.columns); // a whole label: that one alone, beside the baseline
    const columns = data.configurations.flatMap((configuration, index) => {
      const { label, control, no_op: noOp, verdicts } = configuration;
      const words = !wantedLabels.length || wantedLabels.some((word) => label.toLowerCase().includes(word));
      const named = exact < 0 ? words : index === exact || index === baseline;
      const judged = !state.verdict || verdicts[metric][1] === state.verdict;
      const kind = state.show === "controls" ? control : state.show === "candidates" ? !control && !noOp : true;
      return named && judged && kind ? [index] : [];
    });
    const passes = (cell) => {
      if (!cell) return false;
      const value = cell.scores[metric];
      if (least !== null && !(value >= least)) return false;
      if (most !== null && !(value <= most)) return false;
      if (state.show === "failed") return Boolean(cell.error) || cell.scores.some((s) => String(s).startsWith("failed"));
      return state.show !== "no-ops" || cell.noOp;
    };
    const found = rows.filter((row) => {
      const text = `${row.item.id} ${row.item.prompt} ${row.item.caption} ${row.item.relation}`.toLowerCase();
      const right = !state.seed || String(row.seed) === state.seed;
      return right && wantedItems.every((word) => text.includes(word)) && columns.some((c) => passes(row.cells[c]));
    });
    const used = columns.filter((c) => found.some((row) => passes(row.cells[c])));
    return { metric, passes, columns: used, rows: sorted(found, labels.indexOf(state.sort), metric) };
  }

  // Worst first; without a direction, largest first. Without a number, last.
  function sorted(found, column, metric) {
    if (column < 0) return found;
    const sign = data.metrics[metric].direction === "higher" ? 1 : -1;
    const key = (row) => {
      const value = row.cells[column]?.scores[metric];
      return typeof value === "number" ? sign * value : Infinity;
    };
    return [...found].sort((x, y) => (key(x) < key(y) ? -1 : key(x) > key(y) ? 1 : 0));
  }

  function head(state) {
    const cells = shown.columns.map((column) => {
      const { label, control, no_op: noOp, ok, expected, verdicts } = data.configurations[column];
      const [effect, verdict] = verdicts[shown.metric];
      const role = column === baseline ? "baseline" : control && "control";
      const notes = [role, noOp && "no-op", ok < expected && `${ok} of ${expected} ok`].filter(Boolean);
      const ordered = state.sort === label;
      const link = element("a", {
        href: gallery.address({ ...state, sort: ordered ? "" : label }),
        title: ordered ? "order by item" : "order rows by this column, worst first",
        // Long labels may break where they are joined.
        textContent: label.replace(/([:,_])/g, "$1\u200b") + (ordered ? " ↓" : ""),
      });
      const line = element("small", { textContent: [effect && `Δ ${effect}`, verdict].filter(Boolean).join(" ") });
      line.className = verdict;
      return element("th", { scope: "col" }, link, line, element("small", { textContent: notes.join(", ") }));
    });
    const corner = element("th", { scope: "col", textContent: "reference" });
    $("#grid thead").replaceChildren(element("tr", {}, corner, ...cells));
  }

  function fill(line, row) {
    const base = row.cells[baseline];
    const caption = `seed ${row.seed} · ${row.item.prompt}`;
    const head = element("th", { scope: "row" }, thumbnail(row.item.reference, `reference: ${row.item.caption}`),
      element("span", { className: "caption", textContent: caption, title: `${row.item.id}: ${caption}` }));
    line.replaceChildren(head, ...shown.columns.map((column) => cellOf(row, column, base)));
  }

  function cellOf(row, column, base) {
    const cell = row.cells[column];
    if (!shown.passes(cell)) return element("td", { className: "out" });
    const metric = data.metrics[shown.metric];
    const value = cell.scores[shown.metric];
    const { text, word } = column === baseline ? { text: "", word: "" } : gallery.difference(base, cell, shown.metric);
    const link = element("a", {
      href: gallery.address({ item: row.item.id, seed: row.seed, a: data.baseline, b: labels[column], view: "slider" }),
      className: "cell",
      title: cell.error || (typeof value === "string" ? value : `${metric.title} ${value}`),
    });
    link.append(
      cell.error ? element("span", { className: "missing", textContent: `failed: ${cell.error}` })
        : thumbnail(cell.image, `${labels[column]}: ${row.item.prompt}`),
      element("span", { className: "value", textContent: gallery.number(value, metric) }),
      element("span", { className: `delta ${word}`, textContent: cell.noOp ? "no-op" : `${text === "–" ? "" : text} ${word}` }),
    );
    return element("td", {}, link);
  }

  function thumbnail(index, description) {
    if (index < 0) return element("span", { className: "missing", textContent: "no image" });
    const image = element("img", { loading: "lazy", decoding: "async", alt: description, width: 128, height: 128 });
    image.src = data.thumbnails[index] || data.images[index];
    return image;
  }

  function show(state) {
    const wanted = gallery.address(state);
    if (wanted === rendered) return;
    rendered = wanted;
    for (const input of form.elements) {
      if (input.name && document.activeElement !== input) input.value = state[input.name] || input.dataset.initial || "";
    }
    observer.disconnect();
    shown = chosen(state);
    head(state);
    const lines = shown.rows.map((row, index) => {
      const line = element("tr");
      line.dataset.row = index;
      return line;
    });
    body.replaceChildren(...lines);
    lines.forEach((line) => observer.observe(line));
    const cells = shown.rows.reduce((sum, row) => sum + shown.columns.filter((c) => shown.passes(row.cells[c])).length, 0);
    $("#shown").textContent = `${cells} of ${data.cells.length} images`;
    $("#nothing").hidden = cells > 0;
  }

  function filterChanged() {
    const { sort } = gallery.state();
    const filters = Object.fromEntries(new FormData(form));
    if (filters.metric === data.metrics[0]?.name) filters.metric = "";
    gallery.change({ ...filters, sort });
  }

  // Arrows go from image to image, over the gaps that filters leave.
  function key(event) {
    if (event.key === "/") {
      event.preventDefault();
      $("#filters").open = true;
      field("find").focus();
      return;
    }
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    const at = document.activeElement.closest?.("#grid td");
    let [line, column] = at ? [at.parentElement, at.cellIndex] : [body.rows[0], 0];
    if (!line) return;
    event.preventDefault();
    for (let tries = body.rows.length + shown.columns.length; tries > 0; tries--) {
      line = at ? body.rows[line.sectionRowIndex + step[0]] : line;
      column += at ? step[1] : 1;
      if (line && !line.cells.length) fill(line, shown.rows[Number(line.dataset.row)]);
      const cell = line?.cells[column];
      if (!cell || column < 1) return;
      if ($("a", cell)) {
        $("a", cell).focus();
        cell.scrollIntoView({ block: "nearest", inline: "nearest" });
        return;
      }
    }
  }

  fillSelect(field("metric"), data.metrics.map((m) => m.name), data.metrics.map((m) => `${m.title} (${m.name})`));
  field("metric").dataset.initial = data.metrics[0]?.name || "";
  for (const seed of data.seeds) field("seed").append(element("option", { value: seed, textContent: seed }));
  form.addEventListener("input", filterChanged);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => gallery.go({}));
  if (matchMedia("(max-width: 700px)").matches) $("#filters").open = false;
  gallery.views.grid = { show, key, rows: () => (shown.rows.length ? shown.rows : rows) };
}
