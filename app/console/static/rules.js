// The builder of rules: shows the fields of a kind, checks while you type, tries a rule on the past. Without scripts,
// the same buttons send the form.
"use strict";
(() => {
  const { find, announce } = window.vigie;
  const one = (selector, inside = document) => inside.querySelector(selector);
  const READ_MS = 700, CHECK_MS = 350;

  // A back-test that runs is read again until it is done.
  const follow = async (place) => {
    const running = one("[data-backtest]", place);
    if (!running) return;
    try {
      await new Promise((done) => setTimeout(done, READ_MS));
      const fresh = await read(window.vigie.root + running.dataset.backtest, {});
      const found = fresh.getElementById("backtest");
      if (!found || !running.isConnected) return;
      const next = one("[data-backtest]", found);
      if (next) running.replaceChildren(...next.childNodes); else {
        const heading = one("h2", place);
        place.replaceChildren(...(heading ? [heading] : []), ...found.childNodes);
        announce(one(".figure-line, .notice", place)?.textContent || "");
      }
    } catch { /* The connection is away: the next reading may find it again. */ }
    follow(place);
  };
  const read = async (address, options) => {
    const answer = await fetch(address, { cache: "no-store", ...options, headers: { Accept: "text/html" } });
    if (answer.redirected) { location.assign(answer.url); throw new Error(answer.url); }
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };
  for (const place of find("#backtest")) follow(place);

  const form = one("[data-builder]");
  if (!form) return;
  let touched = new Set(), sequence = 0, renewals = 0, newest = {}, timer = 0, current = one("input[name=kind]:checked", form)?.value;
  const side = one(".builder-side", form), sentence = one("[data-sentence]", side), others = one("[data-others]", side), box = one("#builder-faults", side);
  const body = (action) => {
    const data = new URLSearchParams(new FormData(form));
    data.set("do", action);
    return data;
  };

  // The fields of the chosen kind. What was typed for one kind is taken over by fields of the same name.
  const typed = new Map();
  const remember = (field) => { if (field.closest("[data-kind]")) typed.set(field.name, field.value); };
  const showKind = (kind) => {
    const before = one(`[data-kind="${current}"]`, form), after = one(`[data-kind="${kind}"]`, form);
    if (!after || kind === current) return;
    for (const field of find("input, select", after)) {
      const value = typed.get(field.name);
      if (value !== undefined && (field.tagName !== "SELECT" || find("option", field).some((each) => each.value === value))) field.value = value;
    }
    before.hidden = before.disabled = true;
    after.hidden = after.disabled = false;
    current = kind;
    showUnits();
  };
  const showUnits = () => {
    for (const place of find("[data-kind]", form)) {
      const metric = one("[data-metric]", place);
      if (!metric) continue;
      const name = one("[name=function]", place)?.value, unit = metric.selectedOptions[0]?.dataset.unit || "";
      for (const each of find("[data-unit].unit", place)) each.textContent = name === "count" ? "" : name === "rate" && unit ? `${unit}/h` : unit;
    }
  };
  // The fields as the server makes them, for a choice that decides about other choices.
  const renew = async () => {
    const kind = current, own = newest[kind] = ++renewals;
    let fresh;
    try { fresh = await read(form.action, { method: "POST", body: body("show") }); } catch { one("[data-offline]")?.removeAttribute("hidden"); return; }
    const mark = document.activeElement?.id;
    const open = find("details[open]", form).map((each) => each.id);
    // Only these depend on the site or the index. Fields of other kinds keep what was typed.
    // What a newer choice decides about comes with its answer.
    for (const part of [own === newest[kind] && `[data-kind="${kind}"]`, own === renewals && ".some-boxes"].filter(Boolean)) {
      const found = one(part, fresh);
      if (found) one(part, form).replaceChildren(...found.childNodes);
    }
    for (const id of open) { const each = document.getElementById(id); if (each) each.open = true; }
    if (mark) document.getElementById(mark)?.focus({ preventScroll: true });
    showUnits();
    check();
  };
  const showFaults = (found, all) => {
    for (const place of find("[data-fault]", form)) {
      const text = found.faults[place.dataset.fault] || "";
      const shown = text && (all || touched.has(place.dataset.fault));
      place.textContent = shown ? text : "";
      place.hidden = !shown;
      for (const each of find(`[aria-describedby~="${place.id}"]`, form)) if (shown) each.setAttribute("aria-invalid", "true"); else each.removeAttribute("aria-invalid");
    }
    sentence.textContent = found.sentence;
    const listed = found.others.length > 0 && (all || touched.size > 0);
    others.replaceChildren(...(listed ? found.others : []).map((text) => { const line = document.createElement("li"); line.textContent = text; return line; }));
    others.hidden = !listed;
    box.className = listed ? "notice bad" : "";
    for (const each of find("p", box)) each.remove();
    one("[data-missing]", side).textContent = found.missing;
    one("[data-incomplete]", side).hidden = Boolean(found.sentence) || listed;
  };
  const check = async (all = false) => {
    const own = ++sequence;
    try {
      const answer = await fetch(window.vigie.root + form.dataset.check, { method: "POST", body: body("check") });
      if (own !== sequence || !(answer.headers.get("content-type") || "").includes("json")) return;
      showFaults(await answer.json(), all);
    } catch { /* Without a connection, the form is checked when it is sent. */ }
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(check, CHECK_MS); };
  const names = (field) => [field.name, field.name.replace(/_(n|unit)$/, ""), field.name.replace(/_\d_(days|from|to)$/, ""), field.name.replace(/_\d(_n|_unit|_severity)$/, "")];
  const touch = (field) => { for (const name of names(field)) touched.add(name); };
  form.addEventListener("input", (event) => { remember(event.target); if (event.target.value && !event.target.matches("select")) touch(event.target); soon(); });
  form.addEventListener("change", (event) => {
    const field = event.target;
    touch(field);
    remember(field);
    if (field.name === "kind") showKind(field.value);
    if (field.name === "where") for (const each of find("[data-shown-for]", form)) each.hidden = each.dataset.shownFor !== field.value;
    if (field.matches("[data-metric], [name=function]")) showUnits();
    if (field.matches("[data-renews]")) renew(); else soon();
  });
  form.addEventListener("submit", async (event) => {
    const action = event.submitter?.value;
    if (action === "check") { event.preventDefault(); event.stopPropagation(); check(true); return; }
    if (action !== "try") return;
    event.preventDefault();
    event.stopPropagation();
    const button = event.submitter, place = one("#backtest");
    button.disabled = true;
    try {
      const fresh = await read(form.action, { method: "POST", body: body("try") });
      const found = fresh.getElementById("backtest");
      await check(true);
      if (found && !found.hidden) {
        place.replaceChildren(...found.childNodes);
        place.hidden = false;
        place.scrollIntoView({ block: "start", behavior: "smooth" });
        announce(one(".figure-line, .notice, [role=status]", place)?.textContent || "");
        follow(place);
      } else {
        // What the check does not see, such as too many back-tests at once.
        const refused = find("[data-others] li", fresh);
        if (refused.length && others.hidden) { others.replaceChildren(...refused); others.hidden = false; box.className = "notice bad"; }
        one("[data-fault]:not([hidden])", form)?.scrollIntoView({ block: "center" });
      }
    } catch { one("[data-offline]")?.removeAttribute("hidden"); }
    button.disabled = false;
  });
  showUnits();
  if (!box.className) check();
})();
