"use strict";
// Runs DuckDB in a worker made from scripts of this folder: a page on a disk may load scripts, and no other files.
// Results leave DuckDB as CSV, so values look as DuckDB prints them.
const SHOWN = 500; // rows of a result
const DATA = "results.duckdb", RESULT = "result.csv";
const byId = (id) => document.getElementById(id);
const [query, status, failure, result] = ["query", "status", "error", "result"].map(byId);
let parts, engine, interrupt;

async function unpacked(name) {
  const text = atob(self.packed[name]);
  delete self.packed[name];
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// Runs in the worker, in front of DuckDB: what it fetches, its own code alone, comes in the first message. From a disk
// a worker can fetch nothing, not even a blob.
function answerFetch() {
  const wasm = new Promise((resolve) => {
    self.addEventListener("message", (event) => {
      event.stopImmediatePropagation();
      resolve(event.data);
    }, { once: true });
  });
  self.fetch = async () => new Response(await wasm, { headers: { "Content-Type": "application/wasm" } });
}

async function start() {
  const worker = new Worker(parts.worker);
  worker.postMessage(parts.wasm);
  const database = new duckdb.AsyncDuckDB(new duckdb.VoidLogger(), worker);
  await database.instantiate("data:,");
  await database.registerFileBuffer(DATA, new Uint8Array(parts.data.slice(0))); // hands its copy over to the worker
  await database.open({ path: DATA, accessMode: duckdb.DuckDBAccessMode.READ_ONLY });
  const connection = await database.connectInternal();
  const ask = (sql) => database.runQuery(connection, sql);
  // A query reads these data and nothing else. The page's Content-Security-Policy refuses requests as well.
  for (const setting of [
    "autoinstall_known_extensions = false", "autoload_known_extensions = false", `allowed_paths = ['${RESULT}']`,
    "enable_external_access = false", "lock_configuration = true",
  ]) await ask(`SET ${setting}`);
  const csv = async (sql) => {
    await ask(`COPY (${sql}) TO '${RESULT}' (FORMAT csv, HEADER, USE_TMP_FILE false)`);
    const bytes = await database.copyFileToBuffer(RESULT);
    await database.dropFile(RESULT);
    return new TextDecoder().decode(bytes);
  };
  engine = { worker, ask, csv };
}

// Rows of CSV; null for a value that is missing, which CSV leaves empty without quotes.
function rows(text) {
  const found = [];
  let row = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n|$)/g)) {
    if (end === "" && !row.length && quoted === undefined && !plain) break; // behind the last line
    row.push(quoted !== undefined ? quoted.replaceAll('""', '"') : plain === "" ? null : plain);
    if (end === ",") continue;
    found.push(row);
    row = [];
  }
  return found;
}

function element(kind, text, parent) {
  const made = document.createElement(kind);
  made.textContent = text;
  parent.append(made);
  return made;
}

function show([names, ...values]) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow(), body = table.createTBody();
  for (const name of names) element("th", name ?? "", head).scope = "col";
  for (const row of values) {
    const line = body.insertRow();
    for (const value of row) {
      const cell = line.insertCell();
      const long = /^-?\d+\.\d{7,}$/.test(value ?? "");
      cell.textContent = value === null ? "NULL" : long ? String(Number(Number(value).toPrecision(6))) : value;
      if (long) cell.title = value;
      if (value === null) cell.className = "null";
    }
  }
  result.replaceChildren(table);
  sortable(table); // of site.js
}

function working(busy, rowsThere) {
  byId("run").disabled = busy;
  byId("cancel").disabled = !busy;
  byId("copy").disabled = byId("download").disabled = busy || !rowsThere;
}

// What DuckDB says, without the place in the statement that the query is put into.
const shortened = (error) => String(error.message ?? error).split(/\n\s*\n/)[0].trim();
const COMMENTS = /^(\s|--[^\n]*\n|\/\*[^]*?\*\/)*/;

async function run() {
  const text = query.value.trim().replace(/[;\s]+$/, "");
  if (byId("run").disabled || !text) return;
  const began = performance.now(), into = "CREATE OR REPLACE TEMP TABLE result AS";
  const stopped = new Promise((_, reject) => { interrupt = () => reject(new Error("cancelled")); });
  const answer = async () => {
    // DESCRIBE, SUMMARIZE and SHOW make no table by themselves.
    if (/^(desc|describe|summarize|show)\b/i.test(text.replace(COMMENTS, ""))) await engine.ask(`${into} FROM (${text}\n)`);
    else await engine.ask(`${into} ${text}`);
    const [, [count]] = rows(await engine.csv("SELECT count(*) FROM result"));
    return [Number(count), rows(await engine.csv(`FROM result LIMIT ${SHOWN}`))];
  };
  working(true);
  failure.hidden = true;
  result.replaceChildren();
  status.textContent = "Running";
  try {
    const [count, found] = await Promise.race([answer(), stopped]);
    show(found);
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const part = count > SHOWN ? `, the first ${SHOWN} are shown` : "";
    status.textContent = `${count.toLocaleString("en")} row${count === 1 ? "" : "s"} in ${seconds} s${part}`;
    working(false, true);
  } catch (error) {
    if (error.message === "cancelled") return;
    failure.textContent = shortened(error);
    failure.hidden = false;
    status.textContent = "The query failed";
    working(false, false);
  }
}

async function cancel() {
  interrupt();
  engine.worker.terminate(); // a query holds its worker until it ends
  status.textContent = "Cancelled; starting DuckDB again";
  byId("cancel").disabled = true;
  await start();
  status.textContent = "Cancelled";
  working(false, false);
}

async function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([await engine.csv("FROM result")], { type: "text/csv" }));
  link.download = "result.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copy() {
  const text = await engine.csv("FROM result");
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = "Copied";
  } catch {
    status.textContent = "The browser does not allow to copy here; download the CSV";
  }
}

async function load() {
  try {
    const [worker, wasm, data] = await Promise.all(["worker", "wasm", "data"].map(unpacked));
    const script = new Blob([`(${answerFetch})();\n`, worker], { type: "text/javascript" });
    parts = { worker: URL.createObjectURL(script), wasm, data };
    await start();
  } catch (error) {
    status.textContent = "This browser cannot run DuckDB: it needs WebAssembly, workers and DecompressionStream";
    failure.textContent = shortened(error);
    failure.hidden = false;
    return;
  }
  status.textContent = "Ready";
  working(false, false);
}

byId("run").addEventListener("click", run);
byId("cancel").addEventListener("click", cancel);
byId("copy").addEventListener("click", copy);
byId("download").addEventListener("click", download);
query.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  run();
});
for (const button of document.querySelectorAll("button[data-query]")) {
  button.addEventListener("click", () => {
    query.value = button.dataset.query;
    run();
  });
}
load();
