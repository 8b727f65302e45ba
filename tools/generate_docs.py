"""Writes the generated tables and examples of the guides: `uv run python -m tools.generate_docs`.

A table stands between `<!-- made from the code: NAME -->` and `<!-- end -->`. `--check` changes nothing, and
fails if a table is stale.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.docs_tables import TABLES

ROOT: Final = Path(__file__).parents[1]
REPAIR_HINT: Final = "Write it again with: uv run python -m tools.generate_docs"
_BLOCK: Final = re.compile(r"(<!-- made from the code: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def list_documents() -> list[Path]:
    """List the Markdown files of the repository's root and of `docs/`."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def list_tables() -> Iterator[tuple[Path, str, str]]:
    """List the generated tables of all documents: file, name of the table, its present text."""
    for path in list_documents():
        for _, name, text, _ in _BLOCK.findall(path.read_text(encoding="utf-8")):
            yield path, name, text


def render_table(name: str) -> str:
    """Render a table as it stands between its marks."""
    return f"\n{TABLES[name]()}\n"


def render_document(text: str) -> str:
    """Return a document with its tables generated again."""
    return _BLOCK.sub(lambda found: f"{found[1]}{render_table(found[2])}{found[4]}", text)


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only list the files that are stale")
    check = parser.parse_args().check
    stale = 0
    for path in list_documents():
        text = path.read_text(encoding="utf-8")
        new = render_document(text)
        if new == text:
            continue
        stale += 1
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        if not check:
            path.write_text(new, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
