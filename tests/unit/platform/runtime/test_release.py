"""Which release runs: one version everywhere, and the commit, wherever that is known from."""

import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import __version__
from app.platform.runtime import release

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    release.current_commit.cache_clear()
    yield
    release.current_commit.cache_clear()


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    (locked,) = [package["version"] for package in lock if package["name"] == "vigie"]
    assert (project, locked) == (__version__, __version__)


def test_the_changelog_knows_the_version_or_what_is_coming() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in text or "## [Unreleased]" in text


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    command = ["git", "-C", str(root), *identity, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (no shell)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    monkeypatch.setattr(release, "_ROOT", tmp_path)
    return tmp_path


def test_of_a_clone_git_tells(clone: Path) -> None:
    commit = git(clone, "rev-parse", "HEAD")[:12]
    git(clone, "tag", "v9.9.9")
    assert release.describe_release() == f"{__version__} ({commit})"
    (clone / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    release.current_commit.cache_clear()
    assert release.current_commit() == f"{commit}-dirty"


@pytest.mark.usefixtures("clone")
def test_a_package_has_it_from_its_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    baked = tmp_path_factory.mktemp("baked") / "commit.txt"
    baked.write_text("0123456789abcdef0123456789abcdef01234567\n")
    monkeypatch.setattr(release, "_BAKED", baked)
    assert release.current_commit() == "0123456789ab"


def test_what_was_installed_from_a_repository_has_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "_ROOT", tmp_path)
    for record, commit in (
        (json.dumps({"url": "https://example.com/x.git", "vcs_info": {"commit_id": "f" * 40}}), "f" * 12),
        (json.dumps({"url": "file:///x", "dir_info": {"editable": True}}), None),
        (None, None),
    ):
        found = SimpleNamespace(read_text=lambda _, record=record: record)
        monkeypatch.setattr(
            "app.platform.runtime.release.metadata.distribution", lambda _, found=found: found
        )
        release.current_commit.cache_clear()
        assert release.current_commit() == commit
    assert release.describe_release() == f"{__version__} (commit unknown)"


def test_somebody_elses_clone_around_a_package_tells_nothing(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "pyproject.toml").unlink()
    monkeypatch.setattr(
        "app.platform.runtime.release.metadata.distribution",
        lambda _: SimpleNamespace(read_text=lambda _: None),
    )
    assert release.current_commit() is None
