"use strict";
// Tables are sorted by a click on a heading, the plot of the front shows what a point stands for. Asks for no file.
function value(cell) {
  const text = cell ? cell.textContent.trim().replace("\u2212", "-") : "";
  const number = parseFloat(text);
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1; // what is no number comes last
}

function sortable(table) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
      const known = rows.filter(([key]) => key !== ""), empty = rows.filter(([key]) => key === "");
      known.sort(([a], [b]) => (typeof a === typeof b && !rising ? -compare(a, b) : compare(a, b)));
      body.append(...[...known, ...empty].map(([, row]) => row));
    });
  });
}

function live(figure) {
  const points = JSON.parse(figure.querySelector("script").textContent);
  const detail = figure.querySelector(".detail");
  const show = (circle) => {
    const point = points[circle.dataset.point];
    figure.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
    circle.classList.add("chosen");
    const name = document.createElement("p"), code = document.createElement("code"), figures = document.createElement("p");
    code.textContent = point.label;
    name.append(code);
    figures.textContent = point.figures;
    const items = document.createElement("div");
    items.className = "items";
    for (const [prompt, ...files] of point.images) {
      const item = document.createElement("div"), row = document.createElement("span");
      ["reference", "text alone", point.label].forEach((what, at) => {
        if (!files[at]) return;
        const image = document.createElement("img");
        image.src = files[at];
        image.alt = image.title = `${what}: ${prompt}`;
        row.append(image);
      });
      item.append(row, prompt);
      items.append(item);
    }
    if (point.images.length) figures.append(". Each item: reference, text alone, this blend.");
    detail.replaceChildren(name, figures, items);
  };
  for (const circle of figure.querySelectorAll(".point")) {
    for (const event of ["mouseenter", "focus", "click"]) circle.addEventListener(event, () => show(circle));
  }
}

document.querySelectorAll("main table").forEach(sortable);
document.querySelectorAll("figure.live").forEach(live);
