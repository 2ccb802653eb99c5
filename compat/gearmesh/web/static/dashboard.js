// Small helps that pages can do without: copying a payload, ticking all rows, and a sign that live updates have stopped.
"use strict";

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const told = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(source.textContent);
      told.textContent = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      told.textContent = "selected: copy it with the keyboard";
    }
  });
}

for (const all of document.querySelectorAll(".check-all")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.closest("form").querySelectorAll("input[name=id]")) {
      box.checked = all.checked;
    }
  });
}

const live = document.getElementById("live-switch");
function say(text) {
  if (live && live.textContent !== "live: off") {
    live.textContent = text;
  }
}
document.body.addEventListener("htmx:sseOpen", () => say("live: on"));
document.body.addEventListener("htmx:sseError", () => say("live: connecting…"));
document.body.addEventListener("htmx:responseError", () => say("live: no answer"));
document.body.addEventListener("htmx:sendError", () => say("live: no answer"));
document.body.addEventListener("htmx:afterOnLoad", () => say("live: on"));
