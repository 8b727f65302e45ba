// What all pages of the console share: live regions, drafts of forms, keyboard, menus. Everything works without it,
// by reloading.
"use strict";
(() => {
  const body = document.body, root = body.dataset.root || "";
  const find = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  const announce = (text) => { const place = one("[data-announce]"); if (place) place.textContent = text; };
  const console_ = (window.vigie = { root, announce, find });
  // Where this page can be read again. A page that answers a form is at the address of the form's page.
  const pageUrl = () => ("answer" in body.dataset ? root + body.dataset.page : location.href);

  // Times: the viewer's own time as a tooltip.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const dressTimes = (inside) => {
    for (const each of find("time[datetime]", inside)) {
      const at = new Date(each.dateTime);
      if (!each.title) each.title = `${at.toLocaleString(document.documentElement.lang, { dateStyle: "full", timeStyle: "medium" })} (${zone})`;
    }
  };
  dressTimes(document);

  // Live regions: elements with `data-live` and an id are read again when something changed, and at intervals; those
  // of which no event tells (`data-live="often"`) at short ones.
  const EVERY_MS = 20000, WITHOUT_STREAM_MS = 5000, AT_MOST_EVERY_MS = 700, HELD_MS = 10000, AGAIN_MS = 2000, TOO_MANY = 429;
  let pending = 0, last = 0, streaming = false, loading = false, again = false;
  const isBusy = (region) => region.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]), textarea, select");
  // Nothing moves below the pointer of somebody who is about to press: a region with links or buttons waits until the
  // pointer leaves it or rests, at most ten seconds.
  let pointer = null, moved = 0, leaving = false, failures = 0;
  const held = new Map();
  addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") { pointer = event; moved = Date.now(); } }, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => { pointer = null; if (held.size) soon(); });
  addEventListener("pageshow", () => { leaving = false; });
  addEventListener("pagehide", () => { leaving = true; });
  addEventListener("beforeunload", () => { leaving = true; setTimeout(() => { leaving = false; }, 5000); });
  const below = () => (pointer ? document.elementFromPoint(pointer.clientX, pointer.clientY) : null);
  const waits = (region) => {
    const now = Date.now();
    const near = now - moved < HELD_MS && region.contains(below()) && region.querySelector("a, button, summary");
    if (!near || now - (held.get(region) || now) >= HELD_MS) { held.delete(region); return false; }
    if (!held.has(region)) {
      held.set(region, now);
      region.addEventListener("pointerleave", () => { held.delete(region); soon(); }, { once: true });
    }
    return true;
  };
  // What the pointer or the focus is on stays where it is, though something above it grew.
  const anchored = (change) => {
    const seen = Date.now() - moved < HELD_MS ? below() : null;
    const anchor = seen && !seen.closest(".side, .map") ? seen : document.activeElement;
    const top = anchor && anchor !== body ? anchor.getBoundingClientRect().top : -1;
    change();
    if (top < 0 || top > innerHeight || !anchor.isConnected) return;
    const by = anchor.getBoundingClientRect().top - top;
    if (Math.abs(by) >= 1) scrollBy({ top: by, behavior: "instant" });
  };
  const replace = (region, fresh) => {
    if (region.innerHTML === fresh.innerHTML || waits(region)) return;
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const mark = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") ? `a[href="${CSS.escape(focused.getAttribute("href"))}"]` : null);
    const open = find("details[open][id]", region).map((each) => each.id);
    const checked = find("input[type=checkbox]:checked", region).map((each) => `${each.name}=${each.value}`);
    const known = new Set(find("[data-row]", region).map((each) => each.dataset.row));
    region.replaceChildren(...fresh.childNodes);
    for (const id of open) { const each = document.getElementById(id); if (each) each.open = true; }
    for (const each of find("input[type=checkbox]", region)) if (checked.includes(`${each.name}=${each.value}`)) each.checked = true;
    if (known.size) for (const each of find("[data-row]", region)) if (!known.has(each.dataset.row)) each.classList.add("fresh");
    if (mark) region.querySelector(mark)?.focus({ preventScroll: true });
    dressTimes(region);
    region.dispatchEvent(new CustomEvent("vigie:refreshed", { bubbles: true }));
  };
  const refresh = async () => {
    if (loading) { again = true; return; }
    loading = true;
    last = Date.now();
    try {
      const answer = await fetch(pageUrl(), { headers: { Accept: "text/html" }, cache: "no-store" });
      // Such as to the sign-in, or to the account because a second factor became mandatory.
      if (answer.redirected) { location.assign(answer.url); return; }
      if (answer.status >= 500 || answer.status === TOO_MANY) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const isLive = fresh.querySelector("[data-live]") !== null;
      // Deleted, or no longer for this person. What is shown stays, with a note.
      const isGone = !answer.ok && !isLive;
      one("[data-gone]")?.toggleAttribute("hidden", !isGone);
      if (isLive) document.title = fresh.title;
      if (!isGone) anchored(() => {
        for (const region of find("[data-live]")) {
          const found = fresh.getElementById(region.id);
          // What the page no longer has must not stay as it was.
          region.hidden = !found;
          if (found && !isBusy(region)) replace(region, found);
        }
      });
      failures = 0;
      one("[data-offline]")?.setAttribute("hidden", "");
    } catch {
      // A page that is left aborts its requests, and one failure may be a chance: the second one counts.
      if (leaving) return;
      failures += 1;
      if (failures > 1) one("[data-offline]")?.removeAttribute("hidden");
      else setTimeout(soon, AGAIN_MS);
    } finally {
      loading = false;
      if (again) { again = false; soon(); }
    }
  };
  const soon = () => {
    if (pending) return;
    pending = setTimeout(() => { pending = 0; refresh(); }, Math.max(60, AT_MOST_EVERY_MS - (Date.now() - last)));
  };
  console_.refresh = soon;
  const listen = () => {
    let tries = 0, source = null, retry = 0;
    const close = () => { clearTimeout(retry); source?.close(); source = null; streaming = false; };
    const connect = () => {
      close();
      const opened = source = new EventSource(`${root}/console/live`);
      opened.onopen = () => { if (tries) soon(); streaming = true; tries = 0; };
      opened.onerror = () => {
        streaming = false;
        if (opened.readyState === EventSource.CLOSED) { tries += 1; retry = setTimeout(connect, Math.min(60000, 2000 * 2 ** tries)); }
      };
      // Events have types, and EventSource hands each type to its own listeners.
      for (const type of (one("[data-live-types]")?.dataset.liveTypes || "").split(" ").filter(Boolean)) opened.addEventListener(type, soon);
      opened.onmessage = soon;
    };
    // A tab that nobody sees holds no stream: browsers allow six connections to a host without HTTP/2, over all tabs.
    if (!document.hidden) connect();
    addEventListener("pagehide", close);
    setInterval(() => {
      if (!document.hidden && Date.now() - last > (streaming && !one('[data-live="often"]') ? EVERY_MS : WITHOUT_STREAM_MS)) refresh();
    }, 1000);
    document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { connect(); soon(); } });
  };
  if (one("[data-live]")) listen();

  // Drafts: what is typed survives a reload, an error and the end of the session, until it was sent. No secrets. Only
  // what differs from the page is stored, with what the page had: another person may change that meanwhile.
  const person = body.dataset.person, PREFIX = "vigie-draft:";
  if (body.dataset.signIn === "new") for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
  const sent = `${PREFIX}sent`, here = (body.dataset.page || location.pathname).split("?")[0];
  // Its forms contain what was typed, and not what is stored.
  const isRefused = one("[data-focus], form[data-unsaved]") !== null;
  if (person) {
    const before = sessionStorage.getItem(sent);
    const isAccepted = before && !isRefused && (before !== here || "answer" in body.dataset || body.dataset.done);
    if (isAccepted) for (const key of Object.keys(sessionStorage)) if (key.startsWith(`${PREFIX}${person}:${before}#`)) sessionStorage.removeItem(key);
    sessionStorage.removeItem(sent);
  }
  const drafted = (form) => person && form.method === "post" && !form.hasAttribute("data-no-draft");
  const keyOf = (form) => `${PREFIX}${person}:${here}#${form.id || find("form").indexOf(form)}`;
  // The fields of a form by name, and by value or place where several have it. Radio buttons of a name are one field.
  const fieldsOf = (form) => {
    const fields = new Map(), places = new Map();
    for (const each of find("input, textarea, select", form)) {
      if (!each.name || each.name.startsWith("_") || each.hasAttribute("data-no-draft") || ["hidden", "password", "file", "submit"].includes(each.type)) continue;
      const name = each.type === "checkbox" ? `${each.name}=${each.value}` : each.name;
      const place = each.type === "radio" ? 0 : places.get(name) || 0;
      places.set(name, place + 1);
      if (!fields.has(`${name}#${place}`)) fields.set(`${name}#${place}`, each);
    }
    return fields;
  };
  const radiosOf = (field) => find(`input[type=radio][name="${CSS.escape(field.name)}"]`, field.form);
  const valueOf = (field) => {
    if (field.type === "radio") return radiosOf(field).find((each) => each.checked)?.value ?? null;
    return field.type === "checkbox" ? field.checked : field.value;
  };
  const defaultOf = (field) => {
    if (field.type === "radio") return radiosOf(field).find((each) => each.defaultChecked)?.value ?? null;
    if (field.type === "checkbox") return field.defaultChecked;
    return field.tagName === "SELECT" ? ([...field.options].find((each) => each.defaultSelected) ?? field.options[0])?.value ?? "" : field.defaultValue;
  };
  const fill = (field, value) => {
    const target = field.type === "radio" ? radiosOf(field).find((each) => each.value === value) : field;
    if (!target) return;
    if (field.type === "radio") target.checked = true; else if (field.type === "checkbox") field.checked = value; else field.value = value;
    target.dispatchEvent(new Event("change", { bubbles: true }));
  };
  // Its label without what the label marks, such as "required".
  const nameOf = (field) => {
    const label = field.labels?.[0], texts = [...(label?.childNodes || [])].filter((each) => each.nodeType === Node.TEXT_NODE);
    return texts.map((each) => each.data).join("").trim() || label?.textContent.trim() || field.name;
  };
  const storedOf = (form) => JSON.parse(sessionStorage.getItem(keyOf(form)) || "[]");
  // What is stored on the server, by form and field. A script may replace fields by others, with other defaults.
  const bases = new Map();
  const baseOf = (form, key, field) => {
    const own = `${keyOf(form)}#${key}`;
    if (!bases.has(own)) bases.set(own, defaultOf(field));
    return bases.get(own);
  };
  const save = (form) => {
    if (!drafted(form)) return;
    const fields = fieldsOf(form);
    const typed = [...fields].map(([key, field]) => [key, valueOf(field), baseOf(form, key, field)]).filter(([, value, base]) => value !== base);
    // Those that this form does not show now, such as a sentence while its JSON is shown.
    typed.push(...storedOf(form).filter(([key]) => !fields.has(key)));
    if (typed.length) sessionStorage.setItem(keyOf(form), JSON.stringify(typed)); else sessionStorage.removeItem(keyOf(form));
  };
  const restored = [], changed = [];
  const restore = (form) => {
    if (!drafted(form)) return;
    const fields = fieldsOf(form), stored = storedOf(form), before = changed.length;
    if (isRefused) for (const [key, , base] of stored) bases.set(`${keyOf(form)}#${key}`, base);
    for (const [key, field] of fields) baseOf(form, key, field);
    const due = [];
    for (const [key, value, base] of stored) {
      const field = fields.get(key);
      if (!field || valueOf(field) === value) continue;
      if (defaultOf(field) === base) due.push([field, value]);
      else if (!isRefused) changed.push(nameOf(field));
    }
    for (const [field, value] of due) fill(field, value);
    if (due.length) restored.push(form);
    if (changed.length > before) save(form);
  };
  for (const form of find("form")) restore(form);
  const note = one("[data-restored]");
  if (note && (restored.length || changed.length)) {
    note.hidden = false;
    for (const each of find("[data-restored-text]", note)) each.hidden = restored.length === 0;
    for (const each of find("[data-changed]", note)) each.hidden = changed.length === 0;
    one("[data-changed-fields]").textContent = [...new Set(changed)].join(", ");
    one("[data-discard]").addEventListener("click", () => {
      for (const form of restored) { form.reset(); sessionStorage.removeItem(keyOf(form)); }
      note.hidden = true;
    });
    one("[data-close-note]").addEventListener("click", () => { note.hidden = true; });
    if (!changed.length) setTimeout(() => { if (!note.contains(document.activeElement)) note.hidden = true; }, 12000);
  }
  document.addEventListener("input", (event) => { if (event.target.form) save(event.target.form); });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) { event.preventDefault(); return; }
    if (form.method !== "post") return;
    save(form);
    sessionStorage.setItem(sent, here);
    // A second press must not send the form again.
    setTimeout(() => { for (const each of find("button", form)) each.disabled = true; });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) for (const each of find("form button[disabled]")) each.disabled = false; });
  // The address after an action stays without its message, so that a reload does not repeat it.
  if (body.dataset.done) {
    const address = new URL(location.href);
    address.searchParams.delete("done");
    history.replaceState(history.state, "", address);
  }
  // A refused form: the first field that is marked, if it can be seen, else the reason.
  const reason = one("[data-focus]");
  if (reason) (find("[aria-invalid=true]").find((each) => each.offsetParent) || reason).focus();

  // Menus, copying, selects that send their form.
  for (const each of find("[data-without-script]")) each.hidden = true;
  document.addEventListener("change", (event) => { if (event.target.hasAttribute?.("data-submits")) event.target.form.requestSubmit(); });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.hasAttribute("data-menu")) {
      const open = one("#menu").classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
    } else if (button.dataset.copy) {
      const text = document.getElementById(button.dataset.copy).textContent;
      try { await navigator.clipboard.writeText(text); } catch {
        const range = document.createRange();
        range.selectNodeContents(document.getElementById(button.dataset.copy));
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        document.execCommand("copy");
      }
      announce(button.dataset.copied);
      button.lastChild.textContent = button.dataset.copied;
    } else if (button.hasAttribute("data-help")) showKeys();
  });

  // Bulk actions: `data-bulk` is shown while entries are selected.
  const countSelected = () => {
    for (const bar of find("[data-bulk]")) {
      const count = find(`input[name="${bar.dataset.bulk}"]:checked`).length;
      bar.hidden = count === 0;
      for (const each of find("[data-count]", bar)) each.textContent = String(count);
    }
  };
  document.addEventListener("change", (event) => {
    if (event.target.hasAttribute?.("data-all")) for (const each of find(`input[name="${event.target.dataset.all}"]`)) each.checked = event.target.checked;
    countSelected();
  });
  // Ticking an entry of some (`data-chooses`) chooses these instead of all.
  document.addEventListener("change", (event) => {
    const choice = event.isTrusted && event.target.checked && event.target.closest?.("[data-chooses]");
    if (choice) document.getElementById(choice.dataset.chooses).checked = true;
  });
  document.addEventListener("vigie:refreshed", countSelected);
  countSelected();

  // Keyboard. `data-key` on a link, button or field names its key; `data-go` that of a page, after g.
  const SWITCH = "vigie-keys-off";
  const labelOf = (each) => each.getAttribute("aria-label") || each.dataset.keyLabel || each.labels?.[0]?.textContent || each.textContent.trim();
  const showKeys = () => {
    const list = (place, elements, keys) => {
      place.replaceChildren(...elements.map((each) => {
        const line = document.createElement("div"), name = document.createElement("dt"), text = document.createElement("dd");
        for (const key of keys(each)) { const cap = document.createElement("kbd"); cap.textContent = key; name.append(cap, " "); }
        text.textContent = labelOf(each);
        line.append(name, text);
        return line;
      }));
    };
    list(one("[data-keys-pages]"), find("[data-go]"), (each) => ["g", each.dataset.go]);
    const here = find("[data-key]").filter((each) => each.offsetParent !== null);
    list(one("[data-keys-here]"), here.filter((each, index) => here.findIndex((other) => other.dataset.key === each.dataset.key) === index), (each) => [each.dataset.key]);
    one("[data-keys-head]").hidden = here.length === 0;
    one("#keys").showModal();
  };
  const keySwitch = one("[data-keys-switch]");
  if (keySwitch) {
    keySwitch.checked = !localStorage.getItem(SWITCH);
    keySwitch.addEventListener("change", () => { if (keySwitch.checked) localStorage.removeItem(SWITCH); else localStorage.setItem(SWITCH, "yes"); });
  }
  let going = 0;
  const step = (by) => {
    const rows = find("[data-row] a.row, a.row[data-row]");
    if (!rows.length) return;
    const now = rows.findIndex((each) => each === document.activeElement || each.closest("[data-row]")?.contains(document.activeElement));
    const next = rows[Math.min(rows.length - 1, Math.max(0, now < 0 ? (by > 0 ? 0 : rows.length - 1) : now + by))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || !person) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); document.dispatchEvent(new Event("vigie:palette")); return; }
    const typing = event.target.matches?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
    if (event.ctrlKey || event.metaKey || typing || localStorage.getItem(SWITCH) || one("dialog[open]")) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const target = find("[data-go]").find((each) => each.dataset.go === event.key);
      if (target) { event.preventDefault(); target.click(); return; }
    }
    if (event.key === "g") { going = Date.now(); return; }
    if (event.key === "?") { event.preventDefault(); showKeys(); return; }
    if (event.key === "/") { const filter = one("[data-filter]"); if (filter) { event.preventDefault(); filter.focus(); } return; }
    if (event.key === "j" || event.key === "k") { event.preventDefault(); step(event.key === "j" ? 1 : -1); return; }
    if (event.key === "x") {
      const box = document.activeElement.closest?.("[data-row]")?.querySelector("input[type=checkbox]");
      if (box) { event.preventDefault(); box.click(); }
      return;
    }
    const target = find("[data-key]").find((each) => each.dataset.key === event.key && each.offsetParent !== null);
    if (!target) return;
    event.preventDefault();
    if (target.matches("input, textarea, select")) target.focus();
    else if (target.matches("summary")) { target.parentElement.open = true; target.parentElement.querySelector("input:not([type=hidden]), textarea, select, button")?.focus(); }
    else target.click();
  });
  for (const each of find("[data-palette]")) each.addEventListener("click", (event) => { event.preventDefault(); document.dispatchEvent(new Event("vigie:palette")); });
})();
