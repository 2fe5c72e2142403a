"use strict";
// Shows what the server says, and asks again every few seconds. It sends nothing.

async function look() {
  const when = document.getElementById("when");
  try {
    const response = await fetch("/owner/board");
    const text = await response.text();
    if (response.ok) document.getElementById("board").innerHTML = text;  // escaped by the server
    const time = new Date().toLocaleTimeString();
    when.textContent = response.ok ? `As of ${time}; read-only, renewed by itself.` : JSON.parse(text).error;
  } catch {
    when.textContent = "No connection to the server. Trying again…";
  }
  setTimeout(look, 5000);
}

look();
