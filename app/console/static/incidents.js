// Maps of incidents: those of a list, or one with its error ellipse and the boxes that heard it. Both are drawn
// again when their live region was read again.
"use strict";
(() => {
  const maps = window.vigie.maps;
  if (!maps) return;

  const list = document.getElementById("incidents-map");
  if (list) {
    const map = maps.open(list), layer = L.layerGroup().addTo(map);
    let shown = "";
    const draw = () => {
      const marks = maps.read("incident-marks") || [];
      layer.clearLayers();
      for (const each of maps.read("incident-places") || []) maps.marker(each.at, { look: "box place", text: each.name, name: each.name, size: 14 }).addTo(layer);
      for (const each of marks) maps.marker(each.at, { look: each.look, name: each.name, href: each.href, above: each.look === "warning" }).addTo(layer);
      const ids = marks.map((each) => each.id).join();
      // The view stays where the reader moved it, unless other incidents are listed.
      if (ids !== shown && marks.length) maps.fit(map, marks.map((each) => each.at), { labels: 130 });
      shown = ids;
    };
    draw();
    document.addEventListener("vigie:refreshed", draw);
  }

  const one = document.getElementById("incident-map");
  if (one) {
    const map = maps.open(one), layer = L.layerGroup().addTo(map);
    let fitted = "";
    const draw = () => {
      const drawn = maps.read("incident-drawn");
      layer.clearLayers();
      drawn.areas.forEach((outline, index) => maps.area(outline, index || !drawn.position ? "ellipse other" : "ellipse").addTo(layer));
      if (drawn.branch.length) L.polyline(drawn.branch, { className: "ellipse line", weight: 4, interactive: false }).addTo(layer);
      for (const each of drawn.boxes) maps.marker(each.at, { look: "box", text: each.text, name: each.text, size: 18 }).addTo(layer);
      if (drawn.alternative) maps.marker(drawn.alternative, { look: "position other", name: drawn.alternative_name, size: 20 }).addTo(layer);
      if (drawn.position) maps.marker(drawn.position, { look: "position", name: drawn.position_name, size: 30, above: true, action: () => maps.fit(map, [drawn.position, ...drawn.areas.flat()], { maxZoom: 18 }) }).addTo(layer);
      const points = [...drawn.boxes.map((each) => each.at), ...drawn.branch, ...drawn.areas.flat(), ...(drawn.position ? [drawn.position] : [])];
      const key = JSON.stringify(points);
      if (key !== fitted && points.length) maps.fit(map, points, { maxZoom: 17, labels: 130 });
      fitted = key;
    };
    draw();
    document.addEventListener("vigie:refreshed", draw);
  }
})();
