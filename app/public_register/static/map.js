// The map of the register, an enhancement of the list with the same content. It sends no request to other hosts,
// unless the operator has configured an address of tiles.
"use strict";
(() => {
  const element = document.getElementById("map");
  if (!element || !window.L) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const say = element.dataset;
  element.replaceChildren();
  const map = L.map(element, {
    zoomControl: false, minZoom: 1, maxZoom: 18, worldCopyJump: true, zoomAnimation: !still, fadeAnimation: !still,
    markerZoomAnimation: !still, inertia: !still, scrollWheelZoom: false,
  }).setView([30, 5], 2);
  map.attributionControl.setPrefix(false);
  map.on("focus", () => map.scrollWheelZoom.enable());
  map.on("blur", () => map.scrollWheelZoom.disable());
  L.control.zoom({ position: "bottomright" }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  map.createPane("ground").style.zIndex = 210;
  map.createPane("degrees").style.zIndex = 220;
  map.getPane("degrees").style.pointerEvents = "none";

  // A grid of meridians and parallels with round numbers, redrawn for the current view.
  const lines = L.layerGroup().addTo(map);
  const steps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005];
  const formatDegrees = (value, positive, negative) => {
    const digits = Math.max(0, Math.ceil(-Math.log10(current)));
    const number = Math.abs(value).toLocaleString(say.language, { maximumFractionDigits: digits });
    return `${number}° ${value === 0 ? "" : value > 0 ? positive : negative}`;
  };
  let current = 30;
  const graticule = () => {
    lines.clearLayers();
    const view = map.getBounds();
    const width = view.getEast() - view.getWest();
    const size = map.getSize(), apart = 100;
    current = steps.findLast((step) => (step / width) * size.x >= apart) || steps[0];
    const west = say.language === "fr" ? "O" : "W";
    const label = (at, text) => L.marker(at, {
      interactive: false, keyboard: false, pane: "degrees",
      icon: L.divIcon({ className: "degrees", html: "", iconSize: null }),
    }).addTo(lines).getElement()?.append(text);
    const options = { className: "graticule", weight: 1, interactive: false, pane: "ground", smoothFactor: 0 };
    const south = Math.max(-85, view.getSouth()), north = Math.min(85, view.getNorth());
    for (let x = Math.ceil(view.getWest() / current) * current; x < view.getEast(); x += current) {
      L.polyline([[south, x], [north, x]], options).addTo(lines);
      // One that the edge would cut says nothing.
      if (map.latLngToContainerPoint([north, x]).x < size.x - 60) label([north, x], formatDegrees(((x + 540) % 360) - 180, "E", west));
    }
    for (let y = Math.ceil(south / current) * current; y < north; y += current) {
      L.polyline([[y, view.getWest()], [y, view.getEast()]], options).addTo(lines);
      // The scale stands in the corner.
      if (map.latLngToContainerPoint([y, view.getWest()]).y < size.y - 45) label([y, view.getWest()], formatDegrees(y, "N", "S"));
    }
  };

  // Pictures out of a PMTiles archive, each by a range of it; drawn on a canvas, so that the policy stays strict.
  const Pictures = L.GridLayer.extend({
    createTile(at, done) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 512;
      this.options.archive.p.getZxy(at.z, at.x, at.y).then(async (found) => {
        if (found) tile.getContext("2d").drawImage(await createImageBitmap(new Blob([found.data])), 0, 0, 512, 512);
        done(null, tile);
      }).catch((error) => done(error, tile));
      return tile;
    },
  });
  const archive = (kind) => {
    const options = { maxZoom: 19, attribution: say.credit };
    const source = new protomapsL.PmtilesSource(say.tiles, false);
    return source.p.getHeader().then((header) => {
      if (kind === "pictures") {
        return new Pictures({ ...options, archive: source, minNativeZoom: header.minZoom, maxNativeZoom: header.maxZoom });
      }
      const flavor = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      return protomapsL.leafletLayer({
        ...options, url: say.tiles, flavor, lang: say.language, maxDataZoom: header.maxZoom,
      });
    });
  };
  if (say.kind === "url") {
    L.tileLayer(say.tiles, { maxZoom: 19, attribution: say.credit }).addTo(map);
  } else if (say.kind) {
    archive(say.kind).then((layer) => layer.addTo(map)).catch(() => {});
  } else {
    map.on("moveend", graticule);
    fetch(say.land).then((answer) => answer.json()).then((land) => L.geoJSON(land, {
      interactive: false, pane: "ground", style: { className: "land", weight: 1, fillOpacity: 1 },
    }).addTo(map)).then(graticule).catch(() => {});
  }

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
