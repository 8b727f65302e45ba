// The palette (Ctrl-K): finds pages by the menu, and sites, boxes, alerts, rules and incidents by the API.
"use strict";
(() => {
  const dialog = document.getElementById("palette"), { root, announce, find } = window.vigie;
  if (!dialog) return;
  const input = dialog.querySelector("input"), list = dialog.querySelector("ul");
  const WAIT_MS = 120;
  let waiting = 0, asked = 0, active = -1;
  const fold = (text) => text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  const pages = () => find("#menu a[href]").filter((each) => !each.hasAttribute("data-palette")).map((each) => ({ href: each.getAttribute("href"), title: each.textContent.trim(), kind: dialog.dataset.page, subtitle: "" }));
  const choose = (position) => {
    const options = find('[role="option"]', list);
    active = options.length ? (position + options.length) % options.length : -1;
    options.forEach((each, at) => each.setAttribute("aria-selected", String(at === active)));
    input.setAttribute("aria-activedescendant", active >= 0 ? options[active].id : "");
    options[active]?.scrollIntoView({ block: "nearest" });
  };
  const show = (results, searched) => {
    list.replaceChildren(...results.map((each, at) => {
      const line = document.createElement("li"), link = document.createElement("a"), kind = document.createElement("span"), title = document.createElement("strong"), where = document.createElement("small");
      line.setAttribute("role", "presentation");
      link.id = `palette-${at}`;
      link.setAttribute("role", "option");
      link.href = each.href.startsWith("/console") && root ? root + each.href : each.href;
      link.tabIndex = -1;
      kind.className = "chip";
      kind.textContent = each.kind;
      title.textContent = each.title;
      where.textContent = each.subtitle;
      link.append(kind, title, where);
      line.append(link);
      return line;
    }));
    if (searched && !results.length) {
      const line = document.createElement("li");
      line.className = "hint";
      line.setAttribute("role", "presentation");
      line.textContent = dialog.dataset.nothing;
      list.append(line);
      announce(dialog.dataset.nothing);
    }
    choose(0);
  };
  const search = async () => {
    const words = input.value.trim(), own = (asked += 1);
    const found = pages().filter((each) => !words || fold(each.title).includes(fold(words)));
    show(found, false);
    if (words.length < 2) return;
    try {
      const answer = await fetch(`${root}/console/search.json?q=${encodeURIComponent(words)}`);
      const { results } = await answer.json();
      if (own === asked) show([...results, ...found], true);
    } catch { /* The pages of the menu stay. */ }
  };
  document.addEventListener("vigie:palette", () => {
    if (dialog.open) return;
    dialog.showModal();
    input.value = "";
    search();
    input.focus();
  });
  input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, WAIT_MS); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(active + (event.key === "ArrowDown" ? 1 : -1)); }
    else if (event.key === "Enter") { event.preventDefault(); list.querySelector('[aria-selected="true"]')?.click(); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
