"""The package that is built: the guides and the commit are in it, and the program finds them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app import __version__

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    environment = {**os.environ, "VIGIE_COMMIT": COMMIT}
    command = ["uv", "build", "--wheel", "--out-dir", str(folder), str(ROOT)]
    done = subprocess.run(  # noqa: S603 (no shell)
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("vigie-*.whl")
    assert wheel.name == f"vigie-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(unpacked: Path, *words: str) -> str:
    # Before the clone's own folder, which is the working directory of the tests.
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(  # noqa: S603 (no shell)
        [sys.executable, *words], cwd=unpacked, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_tells_its_commit(unpacked: Path) -> None:
    assert run(unpacked, "-m", "app", "version") == f"{__version__} ({COMMIT[:12]})"
    assert run(unpacked, "-m", "app", "--version") == f"{__version__} ({COMMIT[:12]})"


def test_the_package_has_all_guides(unpacked: Path) -> None:
    said = run(
        unpacked,
        "-c",
        "from app.pages.guide_rendering import ROOT, map_guide_sources, map_guide_files, read_guide, "
        "render_task_table\n"
        "print(ROOT)\nprint(len([read_guide(name) for name in map_guide_sources()]))\n"
        "print('img/swagger.png' in map_guide_files(), len(render_task_table()) > 1000)",
    ).splitlines()
    assert said[0] == str(unpacked / "app/pages/manual")
    assert int(said[1]) == len(list((ROOT / "docs").rglob("*.md"))) + 2
    assert said[2] == "True True"
