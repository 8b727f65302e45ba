// Pages of the fleet: a file fills a field, work in steps continues by itself, credentials are downloaded, labels printed.
"use strict";
(() => {
  const { find } = window.vigie;
  for (const each of find("[data-with-script]")) each.hidden = false;

  // A file is read here and sent as the text of the form.
  document.addEventListener("change", async (event) => {
    const target = event.target.dataset?.fills && document.getElementById(event.target.dataset.fills);
    const file = target && event.target.files[0];
    if (!file) return;
    const bytes = await file.arrayBuffer();
    let text;
    try { text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { text = new TextDecoder("windows-1252").decode(bytes); }
    const marks = new Uint8Array(bytes.slice(0, 2));
    if ((marks[0] === 0xff && marks[1] === 0xfe) || (marks[0] === 0xfe && marks[1] === 0xff)) text = new TextDecoder(marks[0] === 0xff ? "utf-16le" : "utf-16be").decode(bytes);
    target.value = text;
    target.dispatchEvent(new Event("input", { bubbles: true }));
    target.focus();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-download], [data-print]");
    if (!button) return;
    if (button.hasAttribute("data-print")) { print(); return; }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", document.getElementById(button.dataset.download).value], { type: "text/csv" }));
    link.download = button.dataset.filename;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    button.dataset.taken = "yes";
  });

  // A form with `data-steps` is sent in the background. While the answer has a form that continues, that is sent too.
  let running = false;
  const collect = (fresh) => {
    const from = fresh.querySelector("[data-collected] textarea"), place = document.querySelector("[data-collected]");
    if (!from?.value || !place) return;
    const into = place.querySelector("textarea");
    const rows = from.value.split("\n");
    into.value = into.value ? into.value + rows.slice(1).join("\n") : from.value;
    place.hidden = false;
  };
  const run = async (first) => {
    running = true;
    let form = first;
    try {
      while (form) {
        const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "text/html" } });
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const steps = document.getElementById("steps"), next = fresh.getElementById("steps");
        if (!next) throw new Error(String(answer.status));
        collect(fresh);
        steps.replaceChildren(...next.childNodes);
        document.getElementById("table-form")?.removeAttribute("open");
        form = answer.ok ? steps.querySelector("form[data-continues]") : null;
        for (const each of find("button", steps)) each.disabled = Boolean(form);
      }
      document.getElementById("steps").focus();
    } catch {
      // Sends it in the open: the page then shows why it failed. What was created is not created again.
      running = false;
      HTMLFormElement.prototype.submit.call(form);
    }
    running = false;
  };
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || !event.target.hasAttribute("data-steps") || running) return;
    event.preventDefault();
    run(event.target);
  });
  const continues = document.querySelector("form[data-continues]");
  if (continues) run(continues);
  addEventListener("beforeunload", (event) => {
    const lost = find("[data-collected]:not([hidden]) [data-download]").some((each) => !each.dataset.taken);
    if (running || lost) event.preventDefault();
  });
})();
