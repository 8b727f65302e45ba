"use strict";
// Starts Swagger UI, with a text filter of operations and a dialog that focuses the API key.
{
const place = document.querySelector("#swagger-ui");
// Debounces typing: only the last text is rendered.
const PAUSE_MS = 250;

// Swagger UI's own way of resolving references normalises all of the document first, which takes three seconds.
// In this document each reference is to a part of its own.
const resolveSubtree = async (whole, path) => {
  const at = (keys) => keys.reduce((node, key) => node?.[key], whole);
  const decoded = (key) => decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~");
  const target = (reference) => typeof reference === "string" && reference.startsWith("#/")
    ? at(reference.slice(2).split("/").map(decoded)) : undefined;
  const references = (node) => node === null || typeof node !== "object" ? []
    : [...(typeof node.$ref === "string" ? [node.$ref] : []), ...Object.values(node).flatMap(references)];
  const holdsItself = (reference) => {
    const seen = new Set();
    const waiting = references(target(reference));
    while (waiting.length > 0) {
      const next = waiting.pop();
      if (next === reference) return true;
      if (!seen.has(next)) {
        seen.add(next);
        waiting.push(...references(target(next)));
      }
    }
    return false;
  };
  // A schema that contains itself, as conditions of rules do, is expanded once and then shown by name.
  const shown = new Map();
  const isNamed = (reference) => {
    if (shown.has(reference)) return shown.get(reference);
    shown.set(reference, holdsItself(reference));
    return false;
  };
  const resolve = (node) => {
    if (Array.isArray(node)) return node.map(resolve);
    if (node === null || typeof node !== "object") return node;
    const { $ref: reference, ...rest } = node;
    const own = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, resolve(value)]));
    if (reference === undefined) return own;
    const meant = target(reference);
    return meant === undefined || isNamed(reference) ? { $ref: reference, ...own } : { ...resolve(meant), ...own };
  };
  return { spec: resolve(at(path)), errors: [] };
};

const plugin = (system) => {
  const { React } = system;
  const make = React.createElement;
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  // Each word has to stand in the group's name, the path, the method, the id, the summary or the description.
  const opsFilter = (groups, phrase) => {
    const wanted = words(phrase);
    return groups
      .map((group, name) => group.update("operations", (operations) => operations.filter((each) => {
        const fields = ["summary", "description", "operationId"].map((key) => each.getIn(["operation", key]) ?? "");
        const text = [name, each.get("method"), each.get("path"), ...fields].join(" ").toLowerCase();
        return wanted.every((word) => text.includes(word));
      })))
      .filter((group) => group.get("operations").size > 0);
  };

  // Groups are collapsed; a search expands those with matches.
  const filter = (text) => {
    const phrase = text.trim();
    system.layoutActions.updateFilter(phrase || true);
    for (const name of system.specSelectors.taggedOperations().keys()) {
      system.layoutActions.show(["operations-tag", name], phrase !== "");
    }
  };

  const FilterContainer = () => {
    const [text, setText] = React.useState("");
    const timer = React.useRef();
    const change = (event) => {
      const { value } = event.target;
      setText(value);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => filter(value), PAUSE_MS);
    };
    return make("div", { className: "filter-container" }, make("section", { className: "filter wrapper block col-12" },
      make("input", {
        className: "operation-filter-input", type: "search", value: text, onChange: change,
        placeholder: "Filter by words of path, summary or group", "aria-label": "Filter operations by words",
      })));
  };

  const looked = () => {
    const phrase = system.layoutSelectors.currentFilter();
    return typeof phrase === "string" ? phrase.trim() : "";
  };
  // Webhooks are not operations: the filter hides them.
  const unfiltered = (Original) => (props) => looked() ? null : make(Original, props);
  const orNothing = (Original) => (props) => looked() && opsFilter(system.specSelectors.taggedOperations(), looked()).size === 0
    ? make("p", { className: "nothing" }, "No operation has all of these words.") : make(Original, props);

  // The fields of every scheme ask for the focus, and the last one gets it: the dialog began at its end.
  const beginAtTop = (Original) => class extends React.Component {
    componentDidMount() {
      const content = document.querySelector(".dialog-ux .modal-ux-content");
      content?.querySelector("input")?.focus({ preventScroll: true });
      content?.scrollTo(0, 0);
    }

    render() {
      return make(Original, this.props);
    }
  };

  // Guides are served beside this page, by whatever name the installation was reached.
  const beside = (tag) => {
    const url = URL.parse(tag.externalDocs?.url);
    return url === null ? tag
      : { ...tag, externalDocs: { ...tag.externalDocs, url: location.origin + url.pathname } };
  };
  const updateJsonSpec = (original) => (whole) => original(
    Array.isArray(whole.tags) ? { ...whole, tags: whole.tags.map(beside) } : whole);

  return {
    statePlugins: { spec: { wrapActions: { updateJsonSpec } } },
    fn: { opsFilter, resolveSubtree },
    components: { FilterContainer },
    wrapComponents: { authorizationPopup: beginAtTop, Webhooks: unfiltered, operations: orNothing },
  };
};

SwaggerUIBundle({
  ...JSON.parse(place.dataset.parameters),
  dom_id: "#swagger-ui",
  url: place.dataset.document,
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [plugin],
});
}
