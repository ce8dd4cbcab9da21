"use strict";
// Blind A/B: two images of one item and seed, names hidden, sides by lot; votes are kept in the browser until exported.
{
  const { data, labels } = gallery;
  const QUESTIONS = {
    adherence: "Which follows the prompt better?",
    artifact: "Which has fewer artifacts?",
    reference: "Which has more of the reference's style?",
  };
  const CHOICES = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal" };
  const KEY = `blendbench-votes ${data.experiment} ${data.suite_sha256} ${data.model_set_sha256}`;
  const form = $("#blind form");
  const field = (name) => form.elements.namedItem(name);
  let votes = read();
  let pair = null;
  let since = 0;

  // Some browsers keep nothing for pages from a disk: then votes last as long as the page.
  function read() {
    try {
      return JSON.parse(localStorage.getItem(KEY)) || [];
    } catch (error) {
      console.info(`votes are not kept over a reload: ${error.message}`);
      return [];
    }
  }

  function keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify(votes));
    } catch (error) {
      console.info(`votes are not kept over a reload: ${error.message}`);
    }
  }

  const lot = (count) => crypto.getRandomValues(new Uint32Array(1))[0] % count;

  // Every pair of different images is as likely as any other; some thousand tries find one if it exists.
  function choosePair() {
    const open = [...labels.keys()].filter((index) => index === gallery.baseline || !data.configurations[index].control);
    const { a, b } = gallery.state();
    const [first, second] = [a, b].map((label) => (label ? [labels.indexOf(label)] : open));
    for (let tries = 0; tries < 5000; tries++) {
      const row = gallery.rows[lot(gallery.rows.length)];
      const [x, y] = [row.cells[first[lot(first.length)]], row.cells[second[lot(second.length)]]];
      if (!x || !y || x.image < 0 || y.image < 0 || x.image === y.image) continue;
      return lot(2) ? { row, left: x, right: y } : { row, left: y, right: x };
    }
    return null;
  }

  function ask() {
    pair = choosePair();
    since = performance.now();
    const question = field("question").value;
    $("#question").textContent = pair ? QUESTIONS[question] : "No two different images of these configurations.";
    $("#blind-prompt").textContent = pair ? pair.row.item.prompt : "";
    const figures = pair
      ? [["left", pair.left.image], ["reference", pair.row.item.reference], ["right", pair.right.image]]
      : [];
    $("#pair").replaceChildren(
      ...figures
        .filter(([name]) => name !== "reference" || question === "reference")
        .map(([name, index]) =>
          element("figure", { className: name }, gallery.image(index, name), element("figcaption", { textContent: name }))),
    );
    count();
  }

  function count() {
    $("#count").textContent = `${votes.length} vote${votes.length === 1 ? "" : "s"}`;
    $("#undo").disabled = $("#export").disabled = votes.length === 0;
  }

  function vote(choice) {
    if (!pair) return;
    const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0"));
    votes.push({
      vote_id: id.join(""),
      voter: field("voter").value.trim(),
      question: field("question").value,
      item: pair.row.item.id,
      seed: pair.row.seed,
      left_cell: pair.left.id,
      right_cell: pair.right.id,
      choice,
      seconds: Math.round(performance.now() - since) / 1000,
      voted_at: new Date().toISOString(),
    });
    keep();
    ask();
  }

  function undo() {
    votes.pop();
    keep();
    count();
  }

  function save() {
    const { experiment, suite_sha256, model_set_sha256 } = data;
    const content = { format: "blendbench-votes", version: 1, experiment, suite_sha256, model_set_sha256, votes };
    const blob = new Blob([JSON.stringify(content, null, 1)], { type: "application/json" });
    const link = element("a", { href: URL.createObjectURL(blob), download: `votes-${experiment}.json` });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function show(state) {
    for (const name of ["a", "b"]) field(name).value = labels.includes(state[name]) ? state[name] : "";
    if (QUESTIONS[state.question]) field("question").value = state.question;
    ask();
  }

  function key(event) {
    const choice = CHOICES[event.key];
    if (!choice && event.key !== "u") return;
    event.preventDefault();
    if (choice) vote(choice);
    else undo();
  }

  fillSelect(field("question"), Object.keys(QUESTIONS), Object.values(QUESTIONS));
  for (const name of ["a", "b"]) {
    for (const label of labels) field(name).append(element("option", { value: label, textContent: label }));
  }
  form.addEventListener("change", (event) => {
    if (event.target.name === "voter") return;
    const { question, a, b } = Object.fromEntries(new FormData(form));
    gallery.change({ blind: 1, question, a, b });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => vote(button.dataset.choice));
  }
  $("#undo").addEventListener("click", undo);
  $("#export").addEventListener("click", save);
  gallery.views.blind = { show, key };
}
