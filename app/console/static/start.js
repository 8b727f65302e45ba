// The first run: the browser's time zone, a pasted position, and the wait for the first sample. Also the code of a label.
"use strict";
(() => {
  const { find, root } = window.vigie;
  for (const each of find("[data-own-zone]")) {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (each.value === each.defaultValue && zone && document.querySelector(`#zones option[value="${CSS.escape(zone)}"]`)) each.value = zone;
  }
  for (const each of find("[data-splits]")) {
    each.addEventListener("input", () => {
      const pair = /^\s*(-?\d+(?:[.,]\d+)?)\s*[,;\s]\s*(-?\d+(?:[.,]\d+)?)\s*$/.exec(each.value);
      const other = document.getElementById(each.dataset.splits);
      // Two numbers, such as "43.6045, 1.4440". A lone decimal comma is one number.
      if (!pair || !other || /^\s*-?\d+,\d+\s*$/.test(each.value)) return;
      each.value = pair[1];
      other.value = pair[2];
      other.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
  for (const each of find("[data-from-fragment]")) {
    const code = decodeURIComponent(location.hash.slice(1));
    if (code && !each.value) { each.value = code; document.getElementById("f-id")?.focus(); }
  }
  for (const each of find("[data-keeps-fragment]")) each.addEventListener("click", () => { each.hash = location.hash; });

  const EVERY_MS = 1000;
  const listen = async () => {
    const region = document.getElementById("arrival");
    if (!region || region.dataset.arrived) return;
    try {
      const answer = await fetch(root + region.dataset.poll, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected) { location.reload(); return; }
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("arrival");
        // The region stays, so that screen readers announce what changes in it.
        if (fresh && fresh.textContent !== region.textContent) region.replaceChildren(...fresh.childNodes);
        for (const each of find("[data-without-script]", region)) each.hidden = true;
        if (fresh?.dataset.arrived) {
          region.dataset.arrived = "yes";
          region.classList.add("arrived");
          region.closest("li")?.classList.remove("current");
          return;
        }
      }
    } catch { /* The next second. */ }
    setTimeout(listen, EVERY_MS);
  };
  if (document.getElementById("arrival")) setTimeout(listen, EVERY_MS);
})();
