"""Builds the guides into `build/guides`: `uv run python -m tools.guides`.

Warnings are errors, so a broken link or a page without a place in the navigation fails the build.
If neither a source nor the OpenAPI document changed since the last build without warnings, nothing is built.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

from tools.guides.reference_pages import render_reference
from tools.guides.source_tree import write_source_tree
from tools.guides.stamp import BUILT, STAMP, compute_stamp, is_current

ROOT: Final = Path(__file__).parents[2]
_WORK: Final = ROOT / "build" / "guides-work"


def build_guides() -> int:
    """Build the guides, and return the exit status of Sphinx."""
    stamp = compute_stamp(ROOT)
    target = ROOT / BUILT
    changed = write_source_tree(ROOT, _WORK / "source", render_reference())
    if not changed and is_current(ROOT):
        return 0
    # Without a stamp the API serves nothing while this runs, instead of parts of two builds.
    (target / STAMP).unlink(missing_ok=True)
    status = build_main(
        [
            *("-q", "--fail-on-warning", "--nitpicky", "-j", str(min(os.cpu_count() or 1, 4))),
            *("-b", "html", "-c", str(Path(__file__).parent / "sphinx"), "-d", str(_WORK / "doctrees")),
            *("-D", f"html_extra_path={_WORK / 'source' / 'files'}"),
            *(str(_WORK / "source"), str(target)),
        ]
    )
    if status == 0:
        (target / STAMP).write_text(f"{stamp}\n", encoding="utf-8")
    return status


def main() -> int:
    """Build the guides."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    began = time.monotonic()
    status = build_guides()
    if status == 0:
        size = sum(path.stat().st_size for path in (ROOT / BUILT).rglob("*") if path.is_file())
        pages = len(list((ROOT / BUILT).rglob("*.html")))
        sys.stdout.write(
            f"{BUILT}: {pages} pages, {size / 1e6:.1f} MB, {time.monotonic() - began:.1f} s, no warnings\n"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
