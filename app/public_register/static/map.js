// The map of the register, an enhancement of the list with the same content. `ground.js` draws what is below.
"use strict";
(() => {
  const element = document.getElementById("map");
  if (!element || !window.L) return;
  const say = element.dataset, map = openGroundMap(element);

  const count = (boxes) => `${say.boxes}${say.language === "fr" ? "\u00a0" : ""}: ${boxes}`;
  const box = (feature, at) => L.marker(at, {
    icon: L.divIcon({ className: "dot-icon", html: '<span class="dot"></span>', iconSize: [14, 14] }),
    title: `${say.box} ${feature.id}`, alt: `${say.box} ${feature.id}`, keyboard: false,
  });
  const linkTo = (facts) => {
    const link = document.createElement("a");
    link.href = `${facts.page}?lang=${say.language}`;
    link.textContent = facts.name;
    return link;
  };
  // Sites that would cover each other have one marker, which lists them: each stays large enough to be hit.
  const apart = 40, listed = 12;
  const markers = L.layerGroup().addTo(map);
  const group = (features) => {
    const groups = [];
    for (const feature of features) {
      const [x, y] = feature.geometry.coordinates;
      const place = map.project([y, x]);
      const near = groups.find((each) => each.place.distanceTo(place) < apart);
      if (near) near.features.push(feature);
      else groups.push({ place, at: [y, x], features: [feature] });
    }
    return groups;
  };
  const mark = ({ at, features }) => {
    const boxes = features.reduce((sum, each) => sum + each.properties.boxes, 0);
    const sensitive = features.some((each) => each.properties.sensitive);
    const names = features.slice(0, listed).map((each) => each.properties.name).join(", ");
    const name = `${names}. ${count(boxes)}`;
    const look = `marker${sensitive ? " sensitive" : ""}${features.length > 1 ? " several" : ""}`;
    const marker = L.marker(at, {
      icon: L.divIcon({ className: look, html: String(boxes), iconSize: null }), title: name, riseOnHover: true,
    });
    const popup = document.createElement("ul");
    popup.className = "found";
    for (const each of features.slice(0, listed)) {
      const line = document.createElement("li");
      line.append(linkTo(each.properties), ` ${each.properties.operator} · ${count(each.properties.boxes)}`);
      if (each.properties.purposes.length === 0) line.append(` · ${say.undeclared}`);
      popup.append(line);
    }
    if (features.length > listed) popup.append("…");
    // On a phone it is as wide as the map, less its frame.
    const room = map.getSize();
    marker.bindPopup(popup, {
      maxWidth: Math.min(300, room.x - 64), maxHeight: Math.max(90, room.y - 110), autoPanPadding: [8, 8],
    }).addTo(markers);
    marker.getElement().setAttribute("aria-label", name);
  };
  fetch(say.places).then((answer) => answer.json()).then((places) => {
    const of = (kind) => places.features.filter((each) => each.properties.kind === kind);
    const collection = (features) => ({ type: "FeatureCollection", features });
    const sites = of("site"), near = L.geoJSON(collection(of("box")), { pointToLayer: box });
    const cells = L.geoJSON(collection(of("cell")), { interactive: false, style: { className: "cell", weight: 1 } }).addTo(map);
    const draw = () => {
      markers.clearLayers();
      group(sites).forEach(mark);
      if (map.getZoom() >= 14) near.addTo(map); else near.remove();
    };
    if (say.latitude) {
      L.marker([say.latitude, say.longitude], {
        icon: L.divIcon({ className: "place-icon", html: '<span class="place"></span>', iconSize: [20, 20] }),
        title: say.place, alt: say.place, keyboard: false, interactive: false,
      }).addTo(map);
    }
    const bounds = L.latLngBounds(sites.map((each) => [...each.geometry.coordinates].reverse()));
    if (cells.getLayers().length) bounds.extend(cells.getBounds());
    if (say.latitude) bounds.extend([say.latitude, say.longitude]);
    if (bounds.isValid()) map.fitBounds(bounds.pad(0.2), { maxZoom: 15, animate: false });
    map.on("zoomend", draw);
    draw();
    element.dataset.ready = "yes";
  }).catch(() => { element.dataset.ready = "failed"; });
})();
