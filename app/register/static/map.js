// The map of the register: an enhancement of the list beside it, which says the same. No other host is asked,
// unless the operator has set an address of tiles.
"use strict";
(() => {
  const element = document.getElementById("map");
  if (!element || !window.L) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const say = element.dataset;
  element.replaceChildren();
  const map = L.map(element, {
    minZoom: 1, maxZoom: 18, worldCopyJump: true, zoomAnimation: !still, fadeAnimation: !still,
    markerZoomAnimation: !still, inertia: !still, scrollWheelZoom: false,
  }).setView([30, 5], 2);
  map.attributionControl.setPrefix(false);
  map.on("focus", () => map.scrollWheelZoom.enable());
  map.on("blur", () => map.scrollWheelZoom.disable());
  L.control.scale({ imperial: false }).addTo(map);
  map.createPane("ground").style.zIndex = 210;
  map.createPane("degrees").style.zIndex = 220;
  map.getPane("degrees").style.pointerEvents = "none";

  // A grid of meridians and parallels with round numbers, drawn anew for what is in view.
  const lines = L.layerGroup().addTo(map);
  const steps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005];
  const told = (value, positive, negative) => {
    const digits = Math.max(0, Math.ceil(-Math.log10(current)));
    const number = Math.abs(value).toLocaleString(say.language, { maximumFractionDigits: digits });
    return `${number}° ${value === 0 ? "" : value > 0 ? positive : negative}`;
  };
  let current = 30;
  const graticule = () => {
    lines.clearLayers();
    const view = map.getBounds();
    const width = view.getEast() - view.getWest();
    current = steps.find((step) => width / step >= 4) || steps[steps.length - 1];
    const west = say.language === "fr" ? "O" : "W";
    const label = (at, text) => L.marker(at, {
      interactive: false, keyboard: false, pane: "degrees",
      icon: L.divIcon({ className: "degrees", html: "", iconSize: null }),
    }).addTo(lines).getElement()?.append(text);
    const options = { className: "graticule", weight: 1, interactive: false, pane: "ground", smoothFactor: 0 };
    const south = Math.max(-85, view.getSouth()), north = Math.min(85, view.getNorth());
    for (let x = Math.ceil(view.getWest() / current) * current; x < view.getEast(); x += current) {
      L.polyline([[south, x], [north, x]], options).addTo(lines);
      label([north, x], told(((x + 540) % 360) - 180, "E", west));
    }
    for (let y = Math.ceil(south / current) * current; y < north; y += current) {
      L.polyline([[y, view.getWest()], [y, view.getEast()]], options).addTo(lines);
      label([y, view.getWest()], told(y, "N", "S"));
    }
  };

  if (say.tiles) {
    L.tileLayer(say.tiles, { maxZoom: 19, attribution: L.Util.template("{c}", { c: say.credit }) }).addTo(map);
  } else {
    map.on("moveend", graticule);
    fetch(say.land).then((answer) => answer.json()).then((land) => L.geoJSON(land, {
      interactive: false, pane: "ground", style: { className: "land", weight: 1 },
    }).addTo(map)).then(graticule).catch(() => {});
  }

  const box = (feature, at) => L.marker(at, {
    icon: L.divIcon({ className: "dot-icon", html: '<span class="dot"></span>', iconSize: [14, 14] }),
    title: `${say.box} ${feature.id}`, alt: `${say.box} ${feature.id}`, keyboard: false,
  });
  const site = (feature, at) => {
    const facts = feature.properties;
    const name = `${facts.name}. ${say.boxes}: ${facts.boxes}`;
    const marker = L.marker(at, {
      icon: L.divIcon({ className: `marker${facts.sensitive ? " sensitive" : ""}`, html: String(facts.boxes), iconSize: null }),
      title: name, alt: name, riseOnHover: true,
    });
    marker.on("add", () => marker.getElement().setAttribute("aria-label", name));
    const popup = document.createElement("div");
    const link = document.createElement("a");
    link.href = `${facts.page}?lang=${say.language}`;
    link.textContent = facts.name;
    popup.append(link, document.createElement("br"), `${facts.operator} · ${say.boxes}: ${facts.boxes}`);
    return marker.bindPopup(popup);
  };
  fetch(say.places).then((answer) => answer.json()).then((places) => {
    const near = L.layerGroup();
    const all = L.geoJSON(places, {
      filter: (feature) => feature.properties.kind !== "box",
      pointToLayer: site, style: { className: "cell", weight: 1 }, interactive: true,
    }).addTo(map);
    L.geoJSON(places, { filter: (feature) => feature.properties.kind === "box", pointToLayer: box }).eachLayer((each) => near.addLayer(each));
    const fine = () => (map.getZoom() >= 14 ? near.addTo(map) : near.remove());
    map.on("zoomend", fine);
    if (all.getLayers().length) map.fitBounds(all.getBounds().pad(0.25), { maxZoom: 15, animate: false });
    fine();
    element.dataset.ready = "yes";
  }).catch(() => { element.dataset.ready = "failed"; });
})();
