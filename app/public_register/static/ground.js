// The ground of every map: outlines of land with a grid of degrees, or the tiles that the operator configured. It
// sends no request to other hosts, unless the operator has configured an address of tiles.
"use strict";
// Opens a map in an element whose data attributes name `land`, `tiles`, `kind`, `credit` and `language`.
window.openGroundMap = (element) => {
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
  L.control.zoom({ position: "bottomright", zoomInTitle: say.zoomIn || "Zoom in", zoomOutTitle: say.zoomOut || "Zoom out" }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  map.createPane("ground").style.zIndex = 210;
  map.createPane("degrees").style.zIndex = 220;
  map.getPane("degrees").style.pointerEvents = "none";

  // A ring of land: longitude and latitude of each point in hundredths of a degree, after the point before it.
  const unpack = (numbers) => {
    const points = [];
    let x = 0, y = 0;
    for (let at = 0; at < numbers.length; at += 2) points.push([(y += numbers[at + 1]) / 100, (x += numbers[at]) / 100]);
    return points;
  };

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
    fetch(say.land).then((answer) => answer.json()).then((land) => L.polygon(land.polygons.map((rings) => rings.map(unpack)), {
      interactive: false, pane: "ground", className: "land", weight: 1, fillOpacity: 1,
    }).addTo(map)).then(graticule).catch(() => {});
  }
  return map;
};
