// The chart explorer of sites and boxes: series of any period, which are read again in finer buckets as one zooms in.
// The page has the choices and a summary of the period without it. The state is in the address.
"use strict";
(() => {
  const place = document.querySelector("[data-charts]"), source = document.getElementById("explorer-data");
  if (!place || !source || !window.uPlot) return;
  const { root, announce, find } = window.vigie, one = (selector) => document.querySelector(selector);
  const given = JSON.parse(source.textContent), texts = given.texts, language = document.documentElement.lang;
  const form = one("#explorer-form"), note = one("[data-chart-note]"), marksPlace = one("[data-marks]");
  const metrics = new Map(given.metrics.map((each) => [each.name, each])), boxes = new Map(given.boxes.map((each) => [each.id, each]));
  // Half a period before and after is read too: the next step or zoom then draws at once.
  const PADDING = .5, MOST_POINTS = 1500, TABLE_ROWS = 300, LISTED_MARKS = 6, KEPT = 60, HEIGHT = 300;
  // A young box: the default period begins with its first sample, until another one is chosen.
  let since = given.since ?? 0, state = { ...given.state }, charts = [], drawn = null, marks = { alerts: [], events: [], flags: [] }, turn = 0, dragging = false;

  // Formats
  const nowS = () => Date.now() / 1000;
  const dates = (options) => new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, { timeZone: given.zone, hourCycle: "h23", ...options });
  const clock = dates({ hour: "2-digit", minute: "2-digit" }), clockS = dates({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = dates({ day: "numeric", month: "short" }), month = dates({ month: "short", year: "numeric" });
  const whole = dates({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const minute = dates({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  const number = new Intl.NumberFormat(language, { maximumSignificantDigits: 5 });
  const show = (format, seconds) => format.format(new Date(seconds * 1000));
  const measured = (value, unit) => value === null || value === undefined ? "–" : `${number.format(value)}${unit ? `\u00a0${unit}` : ""}`;
  const unitOf = (metric) => metrics.get(metric)?.unit_text ?? "";
  const bucketText = (bucket) => one(`#x-bucket option[value="${bucket}"]`)?.textContent ?? bucket.replace(/(\d+)/, "$1\u00a0").replace("m", "min").replace("d", language === "fr" ? "j" : "d").replace("w", language === "fr" ? "sem." : "w");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const element = (tag, text = "", classes = "") => { const made = document.createElement(tag); if (text) made.textContent = text; if (classes) made.className = classes; return made; };

  // State and address
  const query = (from, to, more = {}) => {
    const made = new URLSearchParams();
    for (const metric of state.metrics) made.append("metric", metric);
    for (const box of state.boxes) made.append("box", box);
    for (const [name, value] of Object.entries({ from, to, ...more })) if (value) made.set(name, value);
    return made;
  };
  const instant = (seconds) => new Date(Math.round(seconds * 1000)).toISOString();
  const address = () => {
    const period = state.range ? ["", "", { range: state.range }] : [instant(state.from), instant(state.to), {}];
    return `${location.pathname}?${query(period[0], period[1], { ...period[2], compare: state.compare ? "previous" : "", bucket: state.bucket })}`;
  };
  const settle = () => {
    if (!state.range) return;
    state.to = nowS();
    state.from = Math.max(state.to - given.ranges[state.range], since);
  };
  const change = (changes) => {
    if (changes.range) since = 0;
    state = { ...state, ...changes };
    settle();
    history.pushState({ explorer: state, depth: (history.state?.depth ?? 0) + 1 }, "", address());
    follow();
    window.vigie.refresh();
  };
  const follow = () => {
    for (const each of find("[data-range]")) if (each.dataset.range === state.range) each.setAttribute("aria-current", "true"); else each.removeAttribute("aria-current");
    for (const each of find("input[name=metric]", form)) each.checked = state.metrics.includes(each.value);
    for (const each of find("input[type=checkbox][name=box]", form)) each.checked = state.boxes.includes(each.value);
    one("input[name=compare]").checked = state.compare;
    one("#x-bucket").value = state.bucket;
    one("[data-back]").disabled = !(history.state?.depth > 0);
    const format = state.to - state.from < 600 ? whole : minute;
    one("[data-period]").textContent = `${show(format, state.from)} – ${show(format, state.to)}`;
    draw();
  };
  const back = () => { if (history.state?.depth > 0) history.back(); };
  const zoom = (from, to) => {
    if (to - from < 2) { const middle = (from + to) / 2; from = middle - 1; to = middle + 1; }
    const last = nowS() + 60;
    if (to > last) { from -= Math.min(to - last, 0); to = Math.max(last, from + 2); }
    change({ range: "", from, to });
  };

  // Reading, with what was read before
  const read = new Map();
  const chosen = () => JSON.stringify([state.metrics, state.boxes, state.bucket]);
  const pixels = () => Math.max(200, place.clientWidth || 800);
  const intervals = () => Math.min(...state.boxes.map((box) => boxes.get(box)?.interval_s ?? 60));
  const suits = (entry, from, to) => entry.key === chosen() && entry.from <= from && entry.to >= Math.min(to, entry.at)
    && (!entry.data || entry.data.bucket_s === 0 || state.bucket || (to - from) / entry.data.bucket_s >= Math.min(pixels(), 1200) / 3);
  const fetchJson = async (path, parameters) => {
    const answer = await fetch(`${root}/console/series/${path}?${parameters}`, { headers: { Accept: "application/json" } });
    if (answer.redirected) { location.assign(answer.url); throw new Error(""); }
    const text = await answer.text(), arrived = performance.now();
    let data = null;
    try { data = JSON.parse(text); } catch { /* not of the API */ }
    if (!answer.ok || data === null) throw new Error(data?.detail || String(answer.status));
    return { data, arrived };
  };
  const load = (from, to) => {
    for (const entry of [...read.values()].reverse()) if (suits(entry, from, to)) return entry.promise;
    const now = nowS(), pad = state.bucket ? 0 : (to - from) * PADDING;
    const entry = { key: chosen(), from: from - pad, to: Math.max(Math.min(to + pad, now), to), at: now };
    const width = Math.min(MOST_POINTS, Math.round(pixels() * (1 + 2 * PADDING)));
    entry.promise = fetchJson("values.json", query(instant(entry.from), instant(entry.to), { width, interval: intervals(), bucket: state.bucket }))
      .then(({ data, arrived }) => { for (const each of data.series) each.t = data.grids[each.grid]; entry.data = data; return { ...data, arrived }; })
      .catch((error) => { read.delete(entry); throw error; });
    read.set(entry, entry);
    for (const each of read.keys()) { if (read.size <= KEPT) break; read.delete(each); }
    return entry.promise;
  };

  // Drawing
  const COLOURS = 8;
  const lineColour = (index) => colour(`--series-${index % COLOURS + 1}`);
  const labelOf = (series) => [metrics.get(series.metric)?.symbol ?? series.metric, state.boxes.length > 1 ? boxes.get(series.box)?.name ?? series.box : "", series.before ? texts.previous : ""].filter(Boolean).join(" · ");
  const axisTimes = (_, splits, __, ___, step) => {
    let before = "";
    return splits.map((at) => {
      if (step >= 86400 * 27) return show(month, at);
      if (step >= 86400) return show(day, at);
      const date = show(day, at), text = show(step < 60 ? clockS : clock, at), first = date !== before;
      before = date;
      return first ? `${text}\n${date}` : text;
    });
  };
  const sameTimes = (list) => list.every((each) => each.t === list[0].t || (each.t.length === list[0].t.length && each.t.every((at, index) => at === list[0].t[index])));
  const columns = (list, bands) => {
    const own = (each) => bands(each) ? [each.v, each.lo, each.hi] : [each.v];
    if (list.length === 0) return [[]];
    if (sameTimes(list)) return [list[0].t, ...list.flatMap(own)];
    return uPlot.join(list.map((each) => [each.t, ...own(each)]));
  };
  // Values with a gap on both sides have no line: they are drawn as points.
  const findIsolated = (chart, index) => {
    const values = chart.data[index], [begin, end] = chart.series[0].idxs, found = [];
    let before = null;
    for (let at = begin; at <= end; at += 1) {
      const value = values[at];
      if (value === undefined) continue;
      let next = at + 1;
      while (next <= end && values[next] === undefined) next += 1;
      if (value !== null && before === null && (next > end || values[next] === null)) found.push(at);
      before = value;
    }
    return found;
  };
  const severityColour = (name) => colour(`--${name}`);
  const drawAlerts = (chart) => {
    const { ctx, bbox } = chart, ratio = devicePixelRatio, own = chart.vigie;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const alert of marks.alerts) {
      if (alert.metric && !own.metrics.has(alert.metric)) continue;
      const begin = chart.valToPos(alert.from, "x", true), end = chart.valToPos(alert.to ?? Math.max(nowS(), state.to), "x", true);
      const width = Math.max(end - begin, 3 * ratio), shade = severityColour(alert.severity);
      ctx.fillStyle = shade;
      ctx.globalAlpha = .12;
      ctx.fillRect(begin, bbox.top, width, bbox.height);
      ctx.globalAlpha = 1;
      ctx.fillRect(begin, bbox.top, width, 4 * ratio);
      const size = 11 * ratio, left = Math.max(begin, bbox.left), top = bbox.top + 7 * ratio;
      ctx.beginPath();
      if (alert.severity === "critical") ctx.rect(left, top, size, size);
      else if (alert.severity === "warning") { ctx.moveTo(left, top + size); ctx.lineTo(left + size / 2, top); ctx.lineTo(left + size, top + size); }
      else ctx.arc(left + size / 2, top + size / 2, size / 2, 0, 7);
      ctx.fill();
    }
    ctx.restore();
  };
  const drawMarks = (chart) => {
    const { ctx, bbox } = chart, ratio = devicePixelRatio, own = chart.vigie, bottom = bbox.top + bbox.height;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width + 14 * ratio, bbox.height);
    ctx.clip();
    ctx.font = `${12 * ratio}px ${colour("--sans")}`;
    ctx.textBaseline = "bottom";
    let free = -Infinity;
    for (const event of marks.events) {
      const at = chart.valToPos(event.t, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.fillStyle = ctx.strokeStyle = colour("--ink");
      ctx.lineWidth = 2 * ratio;
      ctx.beginPath();
      ctx.moveTo(at, bottom);
      ctx.lineTo(at, bottom - 16 * ratio);
      ctx.stroke();
      const text = event.text, width = ctx.measureText(text).width;
      const left = Math.min(at - ratio, bbox.left + bbox.width - width);
      if (left > free) { ctx.fillText(text, left, bottom - 17 * ratio); free = left + width + 8 * ratio; }
    }
    const placed = new Map();
    for (const flag of marks.flags) {
      const scale = own.scales.get(flag.metric), series = `${flag.box}|${flag.metric}`;
      if (!scale || chart.valToPos(flag.t, "x", true) - (placed.get(series) ?? -Infinity) < 7 * ratio) continue;
      placed.set(series, chart.valToPos(flag.t, "x", true));
      const at = chart.valToPos(flag.t, "x", true), level = flag.v === null ? bottom - 6 * ratio : chart.valToPos(flag.v, scale, true), size = 5 * ratio;
      ctx.strokeStyle = colour("--critical");
      ctx.fillStyle = colour("--sheet");
      ctx.lineWidth = 2 * ratio;
      ctx.beginPath();
      ctx.moveTo(at, level - size); ctx.lineTo(at + size, level); ctx.lineTo(at, level + size); ctx.lineTo(at - size, level);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
    // The number of each line at its end, as in the legend: colours alone do not tell lines apart.
    if (own.lines.length > 1) {
      ctx.font = `600 ${11 * ratio}px ${colour("--sans")}`;
      ctx.textBaseline = "middle";
      const taken = [];
      for (const line of own.lines) {
        const values = chart.data[line.column], [, last] = chart.series[0].idxs ?? [0, values.length - 1];
        let index = Math.min(last, values.length - 1);
        while (index >= 0 && (values[index] === null || values[index] === undefined)) index -= 1;
        if (index < 0) continue;
        let level = chart.valToPos(values[index], line.scale, true);
        while (taken.some((each) => Math.abs(each - level) < 12 * ratio)) level -= 12 * ratio;
        taken.push(level);
        ctx.fillStyle = line.colour;
        ctx.fillText(line.number, Math.min(chart.valToPos(chart.data[0][index], "x", true) + 3 * ratio, bbox.left + bbox.width + 3 * ratio), level);
      }
    }
    ctx.restore();
  };
  const makeChart = (list, units, first, isLast) => {
    const bands = (each) => !each.before && each.lo.length > 0;
    const series = [{ label: texts.time, value: (_, at) => at === null ? "–" : show(state.to - state.from < 86400 * 3 ? whole : minute, at) }], fills = [], lines = [], scales = new Map();
    const scaleOf = (unit) => `y${units.indexOf(unit)}`;
    list.forEach((each, index) => {
      const stroke = lineColour(first.indexOf(`${each.box}|${each.metric}`)), scale = scaleOf(each.unit), unit = unitOf(each.metric);
      const label = `${list.length > 1 ? `${index + 1} ` : ""}${labelOf(each)}`;
      scales.set(each.metric, scale);
      lines.push({ column: series.length, number: String(index + 1), colour: stroke, scale });
      series.push({ label, scale, stroke, width: each.before ? 1.5 : 2, dash: each.before ? [6, 5] : undefined, spanGaps: false, value: (_, value) => measured(value, unit), points: { show: true, size: 4, fill: stroke, stroke, width: 1, filter: findIsolated } });
      if (bands(each)) {
        const hidden = { scale, stroke: "transparent", width: 0, class: "aux", points: { show: false } };
        fills.push({ series: [series.length + 1, series.length], fill: `${stroke}30` });
        series.push({ ...hidden, label: "min" }, { ...hidden, label: "max" });
      }
    });
    const ink = colour("--soft"), grid = { stroke: colour("--fine"), width: 1 }, ticks = { stroke: colour("--edge"), width: 1 };
    const font = `12px ${colour("--sans")}`;
    const axes = [{ stroke: ink, grid, ticks, font, values: axisTimes, space: 80 }, ...units.map((unit, index) => ({
      scale: `y${index}`, side: index === 0 ? 3 : 1, stroke: ink, font, ticks, grid: index === 0 ? grid : { show: false }, size: 58,
      label: unitOf(list.find((each) => each.unit === unit).metric) || undefined, labelSize: 18, labelFont: font, values: (_, splits) => splits.map((each) => number.format(each)),
    }))];
    const options = {
      width: pixels(), height: isLast === null ? HEIGHT : HEIGHT * .7, series, axes, bands: fills,
      scales: { x: { time: true, range: () => [state.from, state.to] } },
      padding: [12, list.length > 1 && units.length < 2 ? 18 : 8, 0, 0],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), given.zone),
      legend: { live: true },
      // Charts below each other share the cursor; a selection is of the one under the pointer.
      cursor: { sync: { key: "explorer", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } }, drag: { x: true, y: false, setScale: false }, focus: { prox: 24 }, bind: { dblclick: () => () => { back(); return null; } } },
      focus: { alpha: .35 },
      hooks: {
        drawClear: [drawAlerts],
        draw: [drawMarks],
        setSelect: [(chart) => {
          dragging = false;
          if (chart.select.width < 4) return;
          const from = chart.posToVal(chart.select.left, "x"), to = chart.posToVal(chart.select.left + chart.select.width, "x");
          chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          zoom(from, to);
        }],
      },
    };
    const chart = new uPlot(options, columns(list, bands));
    chart.vigie = { lines, scales, metrics: new Set(list.map((each) => each.metric)), list, bands };
    let waiting = 0;
    chart.over.addEventListener("mousemove", () => {
      clearTimeout(waiting);
      if (chart.select.width < 12) return;
      dragging = true;
      // What is being selected is read while the button is still down.
      waiting = setTimeout(() => { load(chart.posToVal(chart.select.left, "x"), chart.posToVal(chart.select.left + chart.select.width, "x")).catch(() => null); }, 120);
    });
    return chart;
  };
  const wrap = (chart, list) => {
    const holder = element("div", "", "chart");
    holder.tabIndex = 0;
    holder.setAttribute("role", "group");
    holder.setAttribute("aria-label", `${texts.chart}: ${list.map(labelOf).join(", ")}`);
    holder.append(chart.root);
    holder.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const times = chart.data[0], [begin, end] = chart.series[0].idxs ?? [0, times.length - 1];
      const present = chart.cursor.idx ?? (by > 0 ? begin - 1 : end + 1), next = Math.min(end, Math.max(begin, present + by * (event.shiftKey ? 10 : 1)));
      chart.setCursor({ left: chart.valToPos(times[next], "x"), top: 10 });
      const own = chart.vigie.lines.map((line) => `${chart.series[line.column].label}: ${chart.series[line.column].value(chart, chart.data[line.column][next])}`);
      announce(`${show(minute, times[next])}. ${own.join(". ")}`);
    });
    return holder;
  };
  const render = (parts, arrived) => {
    const first = [...new Set(parts.filter((each) => !each.before).map((each) => `${each.box}|${each.metric}`))];
    const units = [...new Set(parts.map((each) => each.unit))];
    // Two axes at most in one chart; more units get charts of their own, one below the other.
    const groups = units.length <= 2 ? [parts] : units.map((unit) => parts.filter((each) => each.unit === unit));
    const shape = JSON.stringify([groups.map((group) => group.map((each) => [each.box, each.metric, each.before, each.lo.length > 0])), pixels()]);
    if (drawn === shape) groups.forEach((group, index) => {
      const chart = charts[index];
      chart.batch(() => { chart.setData(columns(group, chart.vigie.bands), false); chart.setScale("x", { min: state.from, max: state.to }); });
      chart.vigie.list = group;
    });
    else {
      for (const chart of charts) chart.destroy();
      charts = groups.map((group, index) => makeChart(group, [...new Set(group.map((each) => each.unit))], first, groups.length > 1 ? index === groups.length - 1 : null));
      place.replaceChildren(...charts.map((chart, index) => wrap(chart, groups[index])));
      drawn = shape;
    }
    // uPlot draws in a microtask.
    queueMicrotask(() => { place.dataset.drawMs = (performance.now() - arrived).toFixed(1); });
  };
  const fillTable = () => {
    const details = one("[data-values]"), target = one("[data-values-place]");
    details.hidden = charts.length === 0;
    if (!details.open || charts.length === 0) return;
    const lists = charts.flatMap((chart) => chart.vigie.list.filter((each) => !each.before));
    const [times, ...values] = sameTimes(lists) ? [lists[0].t, ...lists.map((each) => each.v)] : uPlot.join(lists.map((each) => [each.t, each.v]));
    const rows = times.map((_, index) => index).filter((index) => times[index] >= state.from && times[index] <= state.to && values.some((each) => each[index] !== null && each[index] !== undefined));
    const table = element("table"), head = element("tr"), body = element("tbody"), top = element("thead");
    for (const text of [texts.time, ...lists.map(labelOf)]) { const cell = element("th", text); cell.scope = "col"; head.append(cell); }
    for (const index of rows.slice(-TABLE_ROWS).reverse()) {
      const row = element("tr"), at = element("th", show(whole, times[index]));
      at.scope = "row";
      row.append(at, ...values.map((each, column) => element("td", measured(each[index], unitOf(lists[column].metric)))));
      body.append(row);
    }
    top.append(head);
    table.append(top, body);
    target.replaceChildren(table);
    if (rows.length > TABLE_ROWS) target.append(element("p", texts.rows.replace("{shown}", number.format(TABLE_ROWS)).replace("{all}", number.format(rows.length)), "hint"));
  };
  const listMarks = () => {
    const lines = [];
    for (const alert of marks.alerts.slice(-LISTED_MARKS).reverse()) {
      const line = element("li"), link = element("a", alert.text);
      link.href = `${root}/console/alerts/${encodeURIComponent(alert.id)}`;
      line.append(element("span", texts[alert.severity], `severity ${alert.severity}`), " ", link, " ", element("span", `${show(minute, alert.from)} – ${alert.to ? show(minute, alert.to) : texts.still_firing}`, "soft"));
      lines.push(line);
    }
    for (const event of marks.events.slice(-LISTED_MARKS).reverse()) {
      const line = element("li");
      line.append(element("span", event.text, "chip"), " ", element("span", [show(whole, event.t), state.boxes.length > 1 ? boxes.get(event.box)?.name ?? event.box : "", event.level === null ? "" : measured(event.level, "dB")].filter(Boolean).join(" · "), "soft"));
      lines.push(line);
    }
    if (marks.flags.length) {
      const line = element("li"), what = new Set(marks.flags.flatMap((each) => typeof each.what === "string" ? each.what.split(" ") : []));
      const count = marks.flags.reduce((sum, each) => sum + (typeof each.what === "number" ? each.what : 1), 0);
      line.append(element("span", "◇", "flag-mark"), ` ${number.format(count)} ${texts.flagged}${what.size ? ` (${[...what].map((each) => texts[each] ?? each).join(", ")})` : ""}`);
      lines.push(line);
    }
    marksPlace.replaceChildren(...lines);
    marksPlace.hidden = lines.length === 0;
  };
  let marking = 0;
  const readMarks = (mine, bucket) => {
    clearTimeout(marking);
    marking = setTimeout(async () => {
      try {
        const found = await fetchJson("marks.json", query(instant(state.from), instant(state.to), { interval: intervals(), bucket, site: given.site }));
        if (mine !== turn) return;
        marks = found.data;
        listMarks();
        for (const chart of charts) chart.redraw(false);
        place.dataset.marked = String(marks.alerts.length + marks.events.length + marks.flags.length);
      } catch { /* The chart stands without them. */ }
    }, 150);
  };
  const draw = async () => {
    const mine = ++turn, { from, to } = state, span = to - from;
    place.setAttribute("aria-busy", "true");
    if (charts.length) for (const chart of charts) chart.setScale("x", { min: from, max: to });
    else note.textContent = texts.loading;
    try {
      if (state.metrics.length === 0 || state.boxes.length === 0) { for (const chart of charts) chart.destroy(); charts = []; drawn = null; place.replaceChildren(); note.textContent = texts.nothing; return; }
      const [present, before] = await Promise.all([load(from, to), state.compare ? load(from - span, to - span) : null]);
      if (mine !== turn) return;
      const parts = present.series.map((each) => ({ ...each, before: false }));
      if (before) parts.push(...before.series.filter((each) => each.t.length).map((each) => ({ ...each, t: each.t.map((at) => at + span), before: true })));
      const filled = parts.filter((each) => each.t.length > 0);
      const seen = filled.some((each) => each.t.some((at, index) => at >= from && at <= to && each.v[index] !== null));
      render(filled.length ? filled : parts, Math.max(present.arrived, before?.arrived ?? 0));
      note.textContent = !seen ? texts.nothing : present.bucket ? texts.mean.replace("{bucket}", bucketText(present.bucket)) : texts.samples;
      fillTable();
      readMarks(mine, present.bucket);
    } catch (error) {
      if (mine === turn) note.textContent = error.message ? `${texts.failed} ${error.message}` : "";
    } finally {
      if (mine === turn) place.setAttribute("aria-busy", "false");
    }
  };

  // Controls
  const local = (text) => {
    // A time of a form is one of the site's zone: the offset is that of the guess, corrected once.
    const guess = Date.parse(`${text}Z`);
    if (Number.isNaN(guess)) return null;
    const shift = (at) => uPlot.tzDate(new Date(at), given.zone).getTime() - uPlot.tzDate(new Date(at), "UTC").getTime();
    return (guess - shift(guess - shift(guess))) / 1000;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const from = local(one("#x-from").value), to = local(one("#x-to").value);
    if (from !== null && to !== null && to > from) change({ range: "", from, to });
  });
  form.addEventListener("change", (event) => {
    const chosen_ = (name) => find(`input[name="${name}"]:checked`, form).map((each) => each.value);
    if (event.target.name === "metric") { const names = chosen_("metric"); if (names.length) change({ metrics: names.slice(0, 6) }); else event.target.checked = true; }
    if (event.target.name === "box") { const names = chosen_("box"); if (names.length) change({ boxes: names.slice(0, 10) }); else event.target.checked = true; }
    if (event.target.name === "compare") change({ compare: event.target.checked });
    if (event.target.name === "bucket") change({ bucket: event.target.value });
  });
  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("[data-range], [data-step], [data-zoom], [data-back]");
    if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const span = state.to - state.from, middle = (state.from + state.to) / 2;
    if (target.dataset.range) { event.preventDefault(); change({ range: target.dataset.range, bucket: "" }); }
    else if (target.dataset.step) zoom(state.from + Number(target.dataset.step) * span / 2, state.to + Number(target.dataset.step) * span / 2);
    else if (target.dataset.zoom) zoom(middle - span * Number(target.dataset.zoom) / 2, middle + span * Number(target.dataset.zoom) / 2);
    else back();
  });
  addEventListener("popstate", (event) => {
    if (!event.state?.explorer) return;
    state = event.state.explorer;
    settle();
    follow();
    window.vigie.refresh();
  });
  one("[data-values]").addEventListener("toggle", fillTable);
  const redraw = () => { drawn = null; draw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = pixels();
  new ResizeObserver(() => { if (Math.abs(pixels() - width) > 4) { width = pixels(); redraw(); } }).observe(place);
  // A period that ends now moves on.
  setInterval(() => {
    if (!state.range || document.hidden || dragging) return;
    for (const each of [...read.keys()]) if (each.to >= each.at - 1) read.delete(each);
    settle();
    follow();
  }, Math.max(15, Math.min(300, given.ranges[state.range] / 300 || 30)) * 1000);
  if (!state.range) history.replaceState({ explorer: state, depth: 0 }, "");
  else history.replaceState({ explorer: state, depth: 0 }, "", location.href);
  one("[data-chart-tools]").hidden = false;
  follow();
})();
