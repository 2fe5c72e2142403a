"use strict";
// Shows disputed rows and sends decisions. All content is set as text, never as markup.

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function cells(row, texts, name) {
  for (const text of texts) element(name, text, row);
}

function content(row, parent) {
  if (row.content.image) {
    const picture = element("img", null, parent);
    picture.src = `/owner/disputed/picture?id=${encodeURIComponent(row.id)}`;
    picture.alt = `The picture of ${row.id}`;
  }
  if (row.content.fields) {
    const table = element("table", null, parent);
    for (const [name, value] of row.content.fields) cells(element("tr", null, table), [name, value], "td");
  } else if (row.content.text) {
    element("p", row.content.text, parent);
  }
}

function opinions(row, parent) {
  const table = element("table", null, parent);
  cells(element("tr", null, table), ["who", "says", "in round", "note"], "th");
  for (const one of row.opinions) {
    cells(element("tr", null, table), [one.annotator, one.label || one.kind, one.round, one.note], "td");
  }
}

async function decide(row, label, why, section, status) {
  try {
    const response = await fetch("/owner/disputed/decide", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ id: row.id, label, why }),
    });
    const said = await response.json();
    if (!response.ok) {
      status.textContent = said.error;
      return;
    }
    section.replaceChildren();
    element("p", `${row.id}: ${label}, decided by ${said.by}.`, section);
  } catch {
    status.textContent = "No connection to the server; nothing was decided.";
  }
}

function show(row, labels, parent) {
  const section = element("section", null, parent);
  element("h2", row.id, section);
  content(row, section);
  opinions(row, section);
  element("p", row.stands === null ? "No label leads." : `As it stands: ${row.stands}.`, section);
  const why = element("input", null, element("label", "Why (kept in the history): ", section));
  why.maxLength = 2000;
  const buttons = element("p", null, section);
  const status = element("p", "", section);
  status.setAttribute("role", "status");
  const said = [...new Set(row.opinions.map((one) => one.label).filter(Boolean))];
  for (const label of [...said, ...labels.filter((one) => !said.includes(one))]) {
    const button = element("button", label, buttons);
    button.addEventListener("click", () => decide(row, label, why.value, section, status));
    buttons.append(" ");
  }
}

async function load() {
  const when = document.getElementById("when");
  try {
    const response = await fetch("/owner/disputed/rows");
    const said = await response.json();
    if (!response.ok) {
      when.textContent = said.error;
      return;
    }
    when.textContent = said.rows.length ? `${said.rows.length} rows wait for a decision.` : "Nobody disagrees.";
    for (const row of said.rows) show(row, said.labels, document.getElementById("rows"));
  } catch {
    when.textContent = "No connection to the server. Reload the page.";
  }
}

load();
