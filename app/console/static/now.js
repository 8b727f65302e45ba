// The map of all boxes: clusters coloured by their worst state, read again when a live region of the page was.
"use strict";
(() => {
  const element = document.getElementById("now-map");
  if (!element || !window.vigie?.maps || !window.Supercluster) return;
  const { root, maps } = window.vigie;
  // By the names of the API, the worst last.
  const LOOKS = { active: "ok", refused: "silent", silent: "silent", never_heard: "silent", alert_info: "info", alert_warning: "warning", alert_critical: "critical" };
  for (const each of document.querySelectorAll("[data-look]")) each.append(maps.shape(each.dataset.look));
  const map = maps.open(element);
  const layer = L.layerGroup().addTo(map);
  const only = document.getElementById("only-problems");
  const STILL = document.body.classList.contains("wall");
  let points = [], touched = false, index = null, data = null, tag = "", shown = new Map(), fitted = false, loading = false;
  const number = new Intl.NumberFormat(document.documentElement.lang);

  // The view that a person chose stays for the session; a wall always shows what is wrong.
  const VIEW = "vigie-now-map";
  const recall = () => {
    const stored = STILL ? null : sessionStorage.getItem(VIEW);
    if (!stored) return false;
    const { person, at, zoom } = JSON.parse(stored);
    if (person !== document.body.dataset.person) return false;
    map.setView(at, zoom, { animate: false });
    touched = true;
    return true;
  };
  const build = () => {
    const features = [];
    for (let each = 0; each < data.ids.length; each += 1) {
      if (data.longitude[each] === null || (only?.checked && data.state[each] === 0)) continue;
      features.push({ type: "Feature", geometry: { type: "Point", coordinates: [data.longitude[each], data.latitude[each]] }, properties: { each, worst: data.state[each], bad: data.state[each] > 0 ? 1 : 0 } });
    }
    for (const [at, site] of data.sites.entries()) {
      if (site.state > 0) features.push({ type: "Feature", geometry: { type: "Point", coordinates: [site.longitude, site.latitude] }, properties: { site: at, worst: site.state, bad: 1 } });
    }
    index = new Supercluster({
      radius: 56, maxZoom: 17,
      map: ({ worst, bad }) => ({ worst, bad }),
      reduce: (sum, own) => { sum.worst = Math.max(sum.worst, own.worst); sum.bad += own.bad; },
    }).load(features);
    if (!fitted && features.length) {
      fitted = true;
      const bad = features.filter((each) => each.properties.bad);
      points = (bad.length ? bad : features).map((each) => [each.geometry.coordinates[1], each.geometry.coordinates[0]]);
      if (!recall()) maps.fit(map, points, { maxZoom: 15 });
    }
  };
  const describe = (own) => {
    if (own.cluster) return `${number.format(own.point_count)} · ${number.format(own.bad)} ⚠`;
    if (own.site !== undefined) return data.sites[own.site].name;
    return `${data.labels[own.each]}, ${data.sites[data.site[own.each]].name}`;
  };
  const draw = () => {
    if (!index) return;
    const view = map.getBounds().pad(0.1), fresh = new Map();
    const box = [Math.max(-180, view.getWest()), Math.max(-85, view.getSouth()), Math.min(180, view.getEast()), Math.min(85, view.getNorth())];
    for (const { geometry, properties: own, id } of index.getClusters(box, Math.round(map.getZoom()))) {
      const [x, y] = geometry.coordinates, look = LOOKS[data.states[own.worst]] || "ok";
      const key = `${x},${y},${look},${own.cluster ? own.point_count : own.each ?? `s${own.site}`}`;
      // A marker that stays is not drawn again: panning moves the others only.
      let marker = shown.get(key);
      if (!marker) {
        const options = { look, name: describe(own), size: own.cluster ? 22 : 18, above: own.worst > 0 };
        if (own.cluster) {
          options.text = number.format(own.point_count);
          options.action = () => map.setView([y, x], Math.min(18, index.getClusterExpansionZoom(id)), { animate: !matchMedia("(prefers-reduced-motion: reduce)").matches });
        } else options.href = own.site === undefined ? `${root}/console/boxes/${encodeURIComponent(data.ids[own.each])}` : `${root}/console/sites/${data.sites[own.site].id}`;
        if (STILL) { options.href = ""; options.action = null; }
        marker = maps.marker([y, x], options).addTo(layer);
      }
      fresh.set(key, marker);
    }
    for (const [key, marker] of shown) if (!fresh.has(key)) layer.removeLayer(marker);
    shown = fresh;
    element.dataset.shown = String(fresh.size);
  };
  const load = async () => {
    if (loading) return;
    loading = true;
    try {
      const answer = await fetch(`${root}/console/boxes.json`, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status === 304) return;
      if (!answer.ok) return;
      tag = answer.headers.get("ETag") || "";
      data = await answer.json();
      build();
      draw();
      element.dataset.loaded = String(data.ids.length);
    } catch { /* The page says that there is no connection. */ } finally { loading = false; }
  };
  map.on("moveend", draw);
  map.on("moveend", () => {
    const { lat, lng } = map.getCenter();
    if (touched) sessionStorage.setItem(VIEW, JSON.stringify({ person: document.body.dataset.person, at: [lat, lng], zoom: map.getZoom() }));
  });
  map.on("dragstart zoomstart", () => { touched = fitted && !resizing; });
  // The element gets its size from the list beside it.
  let resizing = false;
  new ResizeObserver(() => {
    resizing = true;
    map.invalidateSize({ animate: false });
    if (fitted && !touched) maps.fit(map, points, { maxZoom: 15 });
    resizing = false;
  }).observe(element);
  document.getElementById("map-all")?.addEventListener("click", () => {
    sessionStorage.removeItem(VIEW);
    touched = false;
    points = data ? data.ids.flatMap((_, each) => (data.longitude[each] === null ? [] : [[data.latitude[each], data.longitude[each]]])) : points;
    if (points.length) maps.fit(map, points, { maxZoom: 15 });
  });
  only?.addEventListener("change", () => { if (data) { build(); draw(); } });
  document.addEventListener("vigie:refreshed", (event) => { if (event.target.id === "firing" || event.target.id === "counters") load(); });
  load();

  // A wall never sleeps, where the browser allows.
  if (STILL && navigator.wakeLock) {
    const keep = () => { if (!document.hidden) navigator.wakeLock.request("screen").catch(() => {}); };
    document.addEventListener("visibilitychange", keep);
    keep();
  }
})();
