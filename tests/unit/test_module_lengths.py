"""Modules of the program have at most 400 lines, so that one person can read each at a sitting."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LONGEST: Final = 400


def test_no_module_of_the_program_has_more_than_400_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("app", "migrations", "simulators")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(lengths) > 700
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
