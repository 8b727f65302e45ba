"""Validates docs/asyncapi.yaml, and with `--write` generates its parts that come from the code.

`uv run python -m tools.asyncapi` lists the errors of the document; `make check` runs it.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

from app import __version__
from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.metrics import CATALOGUE, METRICS_BY_NAME
from app.catalogue.units import FACTORS
from app.ingest.codec.event_and_status_decoder import OCTAVES
from app.platform.kernel.rejection_codes import REJECTION_REASONS

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCS / "asyncapi.yaml"
SCHEMA = DOCS / "asyncapi" / "schema-3.0.0.json"
REPAIR_HINT = "Write it again with: uv run python -m tools.asyncapi --write"
BLOCK = re.compile(r"^( *)# made from the code: ([a-z]+)\n(.*?)^\1# end$", re.DOTALL | re.MULTILINE)


def _values() -> Iterator[str]:
    for metric in CATALOGUE:
        described = json.dumps(f"{metric.description} ({metric.unit})", ensure_ascii=False)
        bounds = f"minimum: {metric.minimum:g}, maximum: {metric.maximum:.12g}"
        yield f"{metric.name}: {{description: {described}, type: number, {bounds}}}"


def _codes() -> Iterator[str]:
    yield from (f"- {code}" for code in ("conflict", *REJECTION_REASONS))


def _units() -> Iterator[str]:
    for name, factors in FACTORS.items():
        yield f"{name}: {{enum: {json.dumps(list(factors), ensure_ascii=False)}}}"


def _types() -> Iterator[str]:
    yield f"enum: [{', '.join(each.name for each in EVENT_TYPES)}]"


def _octaves() -> Iterator[str]:
    level = METRICS_BY_NAME["lcpeak"]
    for band in OCTAVES:
        yield f'"{band}": {{type: number, minimum: {level.minimum:g}, maximum: {level.maximum:g}}}'


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "version": lambda: iter([f"version: {__version__}"]),
    "values": _values,
    "units": _units,
    "codes": _codes,
    "types": _types,
    "octaves": _octaves,
}


def render_document(text: str) -> str:
    """Return the document's text with its parts generated again."""

    def part(found: re.Match[str]) -> str:
        indent, name = found[1], found[2]
        lines = "".join(f"{indent}{line}\n" for line in PARTS[name]())
        return f"{indent}# made from the code: {name}\n{lines}{indent}# end"

    return BLOCK.sub(part, text)


def load_document() -> dict[str, Any]:
    """Read the document."""
    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    return document


def resolve_references(document: dict[str, Any], node: Any) -> Any:  # noqa: ANN401 (any part of the document)
    """Return a part of the document with each reference replaced by its target."""
    if isinstance(node, list):
        return [resolve_references(document, item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return resolve_references(document, target)
    return {key: resolve_references(document, value) for key, value in node.items()}


def find_faults() -> list[str]:
    """List the errors of the document: stale parts, and what its schema or an example violates."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = (
        [] if render_document(text) == text else [f"parts made from the code are out of date. {REPAIR_HINT}"]
    )
    document = load_document()
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found += [
        f"{error.json_path}: {error.message[:300]}" for error in Draft7Validator(schema).iter_errors(document)
    ]
    for name, message in document["components"]["messages"].items():
        payload = Draft7Validator(resolve_references(document, message["payload"]))
        for index, example in enumerate(message["examples"]):
            errors = payload.iter_errors(example["payload"])
            found += [
                f"{name}, example {index}: {error.json_path}: {error.message[:300]}" for error in errors
            ]
    return found


def main() -> int:
    """Check the document, after generating its parts again if asked to."""
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(render_document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    found = find_faults()
    for fault in found:
        sys.stdout.write(f"docs/asyncapi.yaml: {fault}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
