"""The files and folders that begin a run of the tests exist: after a renaming they would come last."""

from pathlib import Path
from typing import Final

from tests import conftest

TESTS: Final = Path(__file__).parents[1]


def test_files_and_folders_that_come_first_exist() -> None:
    files = {"/".join(path.parts[-2:]) for path in TESTS.rglob("test_*.py")}
    folders = {path.name for path in TESTS.rglob("*") if path.is_dir()}
    assert set(conftest._LONGEST) - files == set()
    assert set(conftest._LONG) - folders == set()
