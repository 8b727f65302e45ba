// Maps of the console: the ground (`ground.js` of the register), and markers and shapes on it. A page's own script
// opens a map and draws; names come from the API, so that all text is set as text.
"use strict";
(() => {
  if (!window.L || !window.openGroundMap) return;
  const SVG = "http://www.w3.org/2000/svg";
  // The shapes are those of the macro `severity`, and the marks of boxes and positions.
  const SHAPES = {
    critical: "M5 1h6l4 4v6l-4 4H5l-4-4V5z",
    warning: "M8 1l7.5 13.5H.5z",
    info: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1z",
    ok: "M3 3h10v10H3z",
    silent: "M3.5 1.500L8 6l4.500-4.500 2 2L10 8l4.500 4.500-2 2L8 10l-4.500 4.500-2-2L6 8 1.500 3.500z",
    box: "M8 1.5L14.500 8 8 14.500 1.500 8z",
    position: "M8 0v5M8 11v5M0 8h5M11 8h5",
  };
  const shape = (look) => {
    const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", SHAPES[look.split(" ")[0]] || SHAPES.ok);
    svg.append(path);
    return svg;
  };

  // Opens the map of an element (macro `map_frame`). It stays a map if a live region is read again around it.
  const open = (element) => {
    const map = openGroundMap(element);
    element.dataset.ready = "yes";
    return map;
  };

  // A marker with a shape, an optional text (a count, a time), and a name for screen readers and the tooltip.
  // `href`: leads there; `action`: is called; without either, it cannot be focused.
  const marker = (at, { look = "ok", text = "", name = "", href = "", action = null, size = 22, above = false } = {}) => {
    const element = document.createElement("span");
    element.className = "mark";
    element.append(shape(look));
    if (text) {
      const label = document.createElement("span");
      label.textContent = text;
      element.append(label);
    }
    const act = action || (href ? () => location.assign(href) : null);
    const made = L.marker(at, {
      icon: L.divIcon({ className: `mark-icon ${look}`, html: element, iconSize: [size, size] }),
      title: name, alt: name, keyboard: Boolean(act), interactive: Boolean(act), riseOnHover: true,
      zIndexOffset: above ? 1000 : 0,
    });
    if (act) {
      made.on("click", act);
      made.on("keypress", (event) => { if (event.originalEvent.key === "Enter") act(); });
    }
    made.on("add", () => {
      const node = made.getElement();
      node.setAttribute("aria-label", name);
      node.setAttribute("role", href ? "link" : act ? "button" : "img");
    });
    return made;
  };

  // A polygon: `look` is a class of console.css, such as `ellipse`.
  const area = (points, look) => L.polygon(points, { className: look, weight: 2, interactive: false, smoothFactor: 0 });

  // Shows all points, with room at the edges; `labels` is the room for texts on the right of the marks, in pixels.
  const fit = (map, points, { maxZoom = 16, labels = 0 } = {}) => {
    const bounds = L.latLngBounds(points);
    if (bounds.isValid()) map.fitBounds(bounds.pad(0.1), { maxZoom, animate: false, paddingBottomRight: [labels, 0] });
  };

  // The data that a page has for a script, in `<script type="application/json" id=…>`.
  const read = (id) => { const found = document.getElementById(id); return found ? JSON.parse(found.textContent) : null; };

  window.vigie.maps = { open, marker, shape, area, fit, read };
})();
