"use strict";
// One card at a time. The server knows everything; this page shows its state and sends one answer at a time,
// again and again under the same key until the server says that it is on the disk.

const $ = (id) => document.getElementById(id);
const session = new URLSearchParams(location.search).get("session");
let state = null;    // what the server said last
let card = null;     // the item on the screen: the current one, or one from the history
let flagged = false;
let sending = false;
let help = [];       // what the labels mean
let timer = 0;       // of the next look, while there is no card

function element(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Names may break after an underscore, and stay as they are for who copies or hears them.
function named(tag, name, attributes = {}) {
  const node = element(tag, null, attributes);
  name.split(/(?<=_)/).forEach((part, place) => node.append(...(place ? [element("wbr", null), part] : [part])));
  return node;
}

function say(text) { $("status").textContent = text; }
function complain(text) {
  $("problem").textContent = text;
  if (text && noCard()) showNotice({ title: "One moment.", text, busy: false });
}
function trouble(text) { complain(noCard() ? text : `Not saved yet: ${text}`); }
function noCard() { return $("work").hidden && !$("done").hidden; }
function pause(milliseconds) { return new Promise((resume) => setTimeout(resume, milliseconds)); }

// ---- what is on the screen

function picture(position, alt) {
  const image = element("img", null, { src: `image/${position}?batch=${encodeURIComponent(state.batch)}`, alt });
  image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 128));
  image.addEventListener("click", zoom);
  return image;
}

function showContent(item) {
  const parts = [];
  if (item.image) parts.push(picture(item.position, "The picture to label"));
  if (item.fields) {
    const table = element("table", null);
    for (const [name, value] of item.fields) {
      const line = table.insertRow();
      line.append(element("th", name, { scope: "row" }), element("td", value, { dir: "auto" }));
    }
    parts.push(table);
  } else if (item.text !== null) {
    parts.push(element("p", item.text, { class: "text", dir: "auto" }));
  }
  $("content").replaceChildren(...parts);
  $("content").classList.remove("zoomed");
  $("content").scrollTop = 0;
  $("content").toggleAttribute("tabindex", false);
  if ($("content").scrollHeight > $("content").clientHeight) {  // what scrolls must be reachable by keyboard
    for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "The item"]]) {
      $("content").setAttribute(name, value);
    }
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) $("content").removeAttribute(name);
  }
}

// The keys of the labels: 1 to 9 and 0 in order; where every label is itself a digit, that digit.
function keys() {
  if (state.labels.every((label) => /^[0-9]$/.test(label))) return state.labels;
  return state.labels.map((_, place) => (place < 10 ? String((place + 1) % 10) : ""));
}

function showOptions(chosen) {
  const key = keys();
  $("options").replaceChildren(...state.labels.map((label, place) => {
    const line = element("label", null);
    const radio = element("input", null, { type: "radio", name: "label" });
    radio.value = label;
    radio.checked = label === chosen;
    line.append(radio, named("span", label, { dir: "auto" }));
    if (key[place]) line.append(element("kbd", key[place], { "aria-hidden": "true" }));
    return line;
  }));
  $("narrow").hidden = state.labels.length <= 10;
  $("filter").value = "";
}

function zoom() { $("content").classList.toggle("zoomed"); }

function setFlag(on) {
  flagged = on;
  $("flag").setAttribute("aria-pressed", String(on));
}

function show(item, focus = true) {
  card = { batch: state.batch, ...item };
  complain("");
  const changing = item.answer !== null;
  $("item").textContent = changing ? `Change item ${item.position + 1}` : `Item ${item.position + 1}`;
  showContent(item);
  showOptions(item.label);
  setFlag(item.flagged);
  $("note").value = item.note;
  $("remark").open = item.note !== "";
  $("back").hidden = !changing;
  if (focus) $("item").focus({ preventScroll: true });
}

function showHistory() {
  $("history").replaceChildren(...state.history.map((past) => {
    const button = element("button", null, { type: "button" });
    const what = past.image ? picture(past.position, `Picture ${past.position + 1}`)
                            : element("span", past.text.slice(0, 60), { class: "what", dir: "auto" });
    const lead = element("span", `Change item ${past.position + 1}, answered `, { class: "unseen" });
    button.append(lead, element("span", past.said + (past.flagged ? " ⚑" : "") + (past.note ? " ✎" : ""), { class: "said" }), what);
    button.addEventListener("click", () => { if (!sending) change(past.position); });
    const line = element("li", null);
    line.append(button);
    return line;
  }));
  $("undo").setAttribute("aria-disabled", String(state.history.length === 0));
}

function showNotice(notice, aloud = false) {
  const [title, text, busy] = $("done").children;
  if (aloud && title.textContent !== notice.title) say(notice.title);
  title.textContent = notice.title;
  text.textContent = notice.text;
  busy.hidden = !notice.busy;
}

// One's own pace, and how long the rest would take one alone at that pace.
function paceWords() {
  if (state.pace === null) return "";
  const minutes = Math.ceil(state.pace * (state.total - state.finished) / 60);
  return ` · ${Math.max(1, Math.round(state.pace))} s each, about ${minutes} min left`;
}

function showLabels() {
  const words = $("labels-filter").value.toLowerCase().split(/\s+/);
  const fits = (row) => words.every((word) => Object.values(row).join(" ").toLowerCase().includes(word));
  $("labels-list").replaceChildren(...help.filter(fits).flatMap((row) => {
    const text = element("dd", row.description, { dir: "auto" });
    if (row.example) text.append(element("em", `For example: ${row.example}`, { dir: "auto" }));
    return [named("dt", row.name, { dir: "auto" }), text];
  }));
}

function openLabels() {
  if (help.length === 0) return;
  $("labels-filter").value = "";
  showLabels();
  $("labels-dialog").showModal();
  $("labels-filter").focus();
}

function render(focus = true) {
  $("start").hidden = true;
  $("who").hidden = $("progress").hidden = $("side").hidden = false;
  $("name").textContent = state.session;
  $("bar").max = state.total;
  $("bar").value = state.finished;
  $("count").textContent = `${state.finished} of ${state.total} · ${state.mine} by you${paceWords()}`;
  $("keys-open").hidden = false;
  $("labels-open").hidden = help.length === 0;
  showHistory();
  $("work").hidden = state.card === null;
  $("done").hidden = state.card !== null;
  if (state.card !== null) return show(state.card, focus);
  card = null;
  showNotice(state.notice, !focus);  // what gets the focus is read anyway
  if (focus) $("done").focus();
  lookAgain(state.notice.busy ? 1000 : 4000);
}

// Without a card: look from time to time whether there is one; it takes the keyboard from the notice only.
function lookAgain(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (card !== null || sending) return;
    load([document.body, $("done")].includes(document.activeElement));
  }, milliseconds);
}

// ---- talking to the server

async function call(path, body) {
  for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
    try {
      const response = await fetch(path, body === undefined ? {} : {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      if (response.status < 500) return { code: response.status, data: await response.json() };
      const { error } = await response.json().catch(() => ({ error: "the server cannot write." }));
      trouble(`${error} Trying again…`);
    } catch {
      trouble("no connection to the server. Trying again…");
    }
    await pause(wait);
  }
}

async function load(focus = true, path = "api/state") {
  const { code, data } = await call(`${path}?session=${encodeURIComponent(session)}`);
  if (code === 200) {
    const before = state;
    if (before && before.card === null && (card !== null || sending)) return;  // a change has begun meanwhile
    state = data;
    complain("");
    render(focus && (state.card !== null || before?.card !== null));
    if (before && before.card === null && state.card !== null) say("The next card is here.");
  } else {
    $("start").hidden = false;
    $("start").after(element("p", data.error, { class: "note", role: "alert" }));
  }
}

async function change(position) {
  const batch = state.batch;
  const query = `session=${encodeURIComponent(session)}&position=${position}&batch=${encodeURIComponent(batch)}`;
  const { code, data } = await call(`api/item?${query}`);
  if (code !== 200) return complain(data.error);
  $("work").hidden = false;
  $("done").hidden = true;
  show({ batch, ...data });
}

async function send(item, verdict, label) {
  if (sending) return;
  sending = true;
  const { code, data } = await call("api/answer", {
    session, batch: item.batch ?? state.batch, position: item.position, answer: verdict, label, flagged,
    note: verdict === "undo" ? "" : $("note").value,
    key: crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-"),
    replaces: item.key,
  });
  sending = false;
  if (data.state) {
    state = data.state;
    render();
  }
  if (code === 200) say(`Saved. ${state.finished} of ${state.total}.`);
  else complain(data.error);
}

function accept() {
  const chosen = document.querySelector("#options input:checked");
  if (!chosen) return complain("Choose a label first.");
  send(card, "accept", chosen.value);
}

function undo() {
  if (state.history.length) send(state.history[0], "undo", null);
  else complain("There is nothing to undo.");
}

function leave() { if (!sending) render(); }

// ---- hands

$("answer").addEventListener("submit", (event) => { event.preventDefault(); accept(); });
$("reject").addEventListener("click", () => send(card, "reject", null));
$("ignore").addEventListener("click", () => send(card, "ignore", null));
$("undo").addEventListener("click", undo);
$("flag").addEventListener("click", () => setFlag(!flagged));
$("back").addEventListener("click", leave);

$("keys-open").addEventListener("click", () => $("keys-dialog").showModal());
$("labels-open").addEventListener("click", openLabels);
$("labels-filter").addEventListener("input", showLabels);

$("filter").addEventListener("input", () => {
  const words = $("filter").value.toLowerCase().split(/\s+/);
  for (const line of $("options").children) {
    const label = line.querySelector("input").value.toLowerCase();
    line.hidden = !words.every((word) => label.includes(word));
  }
});
$("filter").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();
  event.stopPropagation();
  const first = document.querySelector("#options label:not([hidden]) input");
  if (event.key === "Enter" && first) first.checked = true;
  $("filter").value = "";
  $("filter").dispatchEvent(new Event("input"));
  (document.querySelector("#options input:checked") || $("item")).focus();
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
    event.preventDefault();
    if (state) say("Every answer is saved at once.");
    return;
  }
  if (!state || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !$("keys").checked) return;
  const on = event.target;
  if (on === $("filter") || document.querySelector("dialog[open]")) return;
  if (on === $("note")) {
    if (event.key === "Escape") $("item").focus();
    return;
  }
  const native = on.closest("button, a, summary, input") !== null;  // what space and enter do there is theirs
  if (event.key === "Backspace") { event.preventDefault(); return undo(); }
  if (event.key === "?") { event.preventDefault(); return $("keys-dialog").showModal(); }
  if (event.key === "l") { event.preventDefault(); return openLabels(); }
  if (card === null) return;
  const radio = /^[0-9]$/.test(event.key) && document.querySelectorAll("#options input")[keys().indexOf(event.key)];
  if (radio) {
    radio.checked = true;
    complain("");
    say(`Chosen: ${radio.value}`);
  } else if (event.key === "a" || (event.key === "Enter" && (!native || on.type === "radio"))) accept();
  else if (event.key === "x") send(card, "reject", null);
  else if (event.key === " " && !native) send(card, "ignore", null);
  else if (event.key === "f") setFlag(!flagged);
  else if (event.key === "z") zoom();
  else if (event.key === "n") {
    $("remark").open = true;
    $("note").focus();
  }
  else if (event.key === "/" && !$("narrow").hidden) $("filter").focus();
  else if (event.key === "Escape" && !$("back").hidden) leave();
  else return;
  event.preventDefault();
});

async function begin() {
  help = (await call("api/labels")).data;
  if (!Array.isArray(help)) help = [];  // refused, and the next call says why
  await load();
}

if (session) begin();
else $("start").hidden = false;
if ($("guide").querySelector("div").childElementCount) $("guide").hidden = false;
