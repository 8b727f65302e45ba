"""Writes the objectives' rules and the dashboards: `python -m tools.monitoring`; `--check` only compares."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from tools.monitoring.dashboard_rendering import render_dashboards
from tools.monitoring.slo_rules import render_slo_rules

ROOT: Final = Path(__file__).parents[2]
HINT: Final = "run `python -m tools.monitoring`"
_SLO_HEAD: Final = """\
# Service-level objectives of Vigie: recorded shares of errors, and alerts on how fast they use up the budget.
# Made by `python -m tools.monitoring` from tools/monitoring/slo_rules.py: change that file.
"""


def render_files() -> Iterator[tuple[Path, str]]:
    """Render each file, with its path."""
    rules = yaml.safe_dump(render_slo_rules(), sort_keys=False, width=110, allow_unicode=True)
    yield ROOT / "deploy" / "prometheus" / "vigie-slo.yml", _SLO_HEAD + rules
    for name, text in render_dashboards().items():
        yield ROOT / "deploy" / "grafana" / "dashboards" / f"{name}.json", text


def main() -> int:
    """Write the files, or compare them."""
    stale = [
        (path, text)
        for path, text in render_files()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for path, _ in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: {HINT}\n")
        return bool(stale)
    for path, text in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
