"""Computes and compares the stamp of the built guides: a hash of everything that they are made from.

Standard library only: the build hook of the package loads this file too.

The stamp does not include the program, although the API reference is made from it: otherwise `make run` would
rebuild after each change of the program. `make docs` and `make check` compare the reference too.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT_PAGES: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
BUILT: Final = Path("build/guides")
STAMP: Final = "stamp.txt"
_FOLDERS: Final = ("docs", "tools/guides")
_IGNORED: Final = frozenset({"__pycache__"})


def list_sources(root: Path) -> Iterator[Path]:
    """List the files from which the guides are built.

    Args:
        root: The folder of the repository.
    """
    yield from (root / name for name in ROOT_PAGES)
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not _IGNORED.intersection(path.parts):
                yield path


def compute_stamp(root: Path) -> str:
    """Hash the names and contents of all sources."""
    digest = hashlib.sha256()
    for path in list_sources(root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_current(root: Path) -> bool:
    """Report whether the built guides are those of the present sources."""
    stamp = root / BUILT / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == compute_stamp(root)


if __name__ == "__main__":
    # Exit with 0 if the built guides are current.
    sys.exit(not is_current(Path(__file__).parents[2]))
