"use strict";
// Which view the address asks for, and keys.
{
  const { data, views } = gallery;
  let lastGrid = "#";

  function current(state) {
    if ("blind" in state) return "blind";
    return state.item && state.a && state.b ? "compare" : "grid";
  }

  function render() {
    const state = gallery.state();
    const name = current(state);
    if (name === "grid") lastGrid = location.hash || "#";
    for (const other of Object.keys(views)) {
      $(`#${other}`).hidden = other !== name;
      if (other !== name) views[other].leave?.();
    }
    $("#to-grid").href = lastGrid;
    $("#to-grid").ariaCurrent = name === "grid" ? "page" : null;
    $("#to-blind").ariaCurrent = name === "blind" ? "page" : null;
    views[name].show(state);
  }

  addEventListener("hashchange", render);
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog");
    if (event.ctrlKey || event.metaKey || event.altKey || $("#help").open) return;
    if (event.key === "Escape") {
      if (typing) typing.blur();
      else if (current(gallery.state()) !== "grid") location.hash = lastGrid;
      return;
    }
    if (typing && !(event.target.type === "checkbox")) return;
    if (event.key === "?") $("#help").showModal();
    else views[current(gallery.state())].key(event);
  });
  $("#help-open").addEventListener("click", () => $("#help").showModal());

  document.title = `${data.experiment}: blendbench gallery`;
  $("#home").textContent = data.experiment;
  $("#about").textContent =
    `${data.configurations.length} configurations × ${data.items.length} items × ${data.seeds.length} seed${data.seeds.length === 1 ? "" : "s"} · ` +
    `${data.suite}, models: ${data.model_set} · ${data.date}`;
  render();
}
