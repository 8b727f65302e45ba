"""Stores the figures from which docs/scale.md is computed: `docs/scale.json`, a part for each measurement."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FIGURES: Final = Path(__file__).parents[1] / "docs" / "scale.json"
"""The file."""


def load_scale_figures(path: Path = FIGURES) -> dict[str, Any]:
    """Load all parts that were measured."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def store_scale_figures(part: str, figures: Mapping[str, Any], path: Path = FIGURES) -> None:
    """Replace one part, and leave the others as they are."""
    text = json.dumps({**load_scale_figures(path), part: figures}, indent=1, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8")
