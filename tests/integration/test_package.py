"""The package that is built: the guides and the commit are in it, and the program finds them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app import __version__
from tests.guides import GUIDES, build_guides_once

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build_guides_once()
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


def test_the_package_has_the_guides(unpacked: Path) -> None:
    said = run(
        unpacked,
        "-c",
        "from app.pages import built_guides\n"
        "guides = built_guides.find_guides()\n"
        "print(guides.files['readme'])\n"
        "print(len([name for name in guides.files if name.endswith('.html')]))\n"
        "print(len(built_guides.load_guide(guides.files['_images/swagger.png'], 0).body) > 1000)",
    ).splitlines()
    assert said[0] == str(unpacked / "app/pages/guides/readme.html")
    assert int(said[1]) == len(list(GUIDES.rglob("*.html"))) > 120
    assert said[2] == "True"


@pytest.mark.parametrize("state", ["missing", "older than their sources"])
def test_no_package_is_built_without_the_guides(tmp_path: Path, state: str) -> None:
    for name in ("pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("deploy/build_hook.py", "tools/guides/stamp.py", "app/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    if state != "missing":
        (tmp_path / "build/guides").mkdir(parents=True)
        (tmp_path / "build/guides/stamp.txt").write_text("of other sources")
    command = ["uv", "build", "--wheel", "--out-dir", str(tmp_path / "dist"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)  # noqa: S603 (no shell)
    assert done.returncode != 0
    assert f"The guides in build/guides are {state}. Run `make docs` first" in done.stderr


def test_the_package_has_the_files_of_a_server(unpacked: Path) -> None:
    """`vigie install --server` runs without a clone."""
    said = run(
        unpacked,
        "-c",
        "from app.server_installation import deploy_files\n"
        "print(deploy_files.find_deploy_file('roles.sql'))\n"
        "print(*deploy_files.list_unit_files())\n"
        "print(len(deploy_files.render_deploy_file('server/vigie.sh')))",
    ).splitlines()
    files = unpacked / "app/server_installation/files"
    assert said[0] == str(files / "roles.sql")
    folder = ROOT / "deploy/server/systemd"
    assert said[1].split() == sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )
    assert int(said[2]) == (ROOT / "deploy/server/vigie.sh").stat().st_size
    assert (files / "roles.sql").read_text() == (ROOT / "deploy/roles.sql").read_text()
