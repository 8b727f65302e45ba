"""A release of a copy with a throw-away key: built, signed, verified, refused if changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
VERSION: Final = "0.2.1"
STATEMENT: Final = "security/advisories/vigie-2026-0001.toml"


def run(
    folder: Path, *command: str, text: str | None = None, fails: bool = False
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "VIGIE_"))}
    # To build these takes longer than the release, and they have tests of their own.
    environment |= {"VIGIE_WITHOUT_GUIDES": "1", "VIGIE_WITHOUT_CLIENTS": "1"}
    done = subprocess.run(  # noqa: S603 (no shell)
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == fails, f"{command}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with the present files, as a maintainer has it."""
    folder = tmp_path_factory.mktemp("release") / "clone"
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(("tests/", "bench/")) or not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "git", "config", "user.name", "A maintainer")
    run(folder, "git", "config", "user.email", "maintainer@vigie.test")
    commit(folder, "Begin")
    return folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "release"
    run(path.parent, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "maintainer", "-f", str(path))
    return path


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


def release(folder: Path, *words: str, fails: bool = False) -> str:
    done = run(folder, sys.executable, "-m", "tools.release", VERSION, *words, fails=fails)
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def made(clone: Path, key: Path) -> Path:
    """The files of a release, after everything that a maintainer may forget was refused."""
    words = ("--key", str(key), "--skip-checks")
    assert "pyproject.toml has another version than 0.2.1" in release(clone, *words, fails=True)
    changelog = clone / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(
        text.replace("## [Unreleased]\n", "## [Unreleased]\n\n- A change.\n", 1), encoding="utf-8"
    )
    release(clone, "--prepare")
    assert "differ from the commit, such as" in release(clone, *words, fails=True)
    commit(clone, f"Release {VERSION}")
    assert "VIGIE-2026-0001 does not name Vigie 0.2.1" in release(clone, *words, fails=True)
    path = clone / STATEMENT
    product = '{ version = "0.2.0", component_version = "1.9.4" }'
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace(product, f"{product}, {product.replace('0.2.0', VERSION)}"), encoding="utf-8"
    )
    commit(clone, "Look at the statements again")
    refused = release(clone, *words, fails=True)
    assert "security/allowed_signers does not have this key" in refused
    (line,) = [line for line in refused.splitlines() if line.startswith("maintainers ")]
    assert run(clone, "git", "tag").stdout == ""
    with (clone / "security/allowed_signers").open("a", encoding="utf-8") as signers:
        signers.write(f"{line}\n")
    commit(clone, "Add the key of the release")
    assert f"the tag v{VERSION}" in release(clone, *words)
    assert "exists already" in release(clone, *words, fails=True)
    return clone / "dist" / f"release-{VERSION}"


def verify(clone: Path, folder: Path, *, fails: bool = False) -> None:
    """The commands of the guide."""
    guide = (ROOT / "docs/operations/supply-chain.md").read_text(encoding="utf-8")
    block = guide.partition("<!-- run by: tests/integration/tools/test_release.py -->\n```sh\n")[2].partition(
        "```"
    )[0]
    assert "ssh-keygen -Y verify" in block
    signers = clone / "security/allowed_signers"
    run(folder, "sh", "-eu", "-c", block.replace("$SIGNERS", str(signers)), fails=fails)


def test_the_release_has_packages_components_and_statements_of_its_version(made: Path) -> None:
    names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert names == {
        f"vigie-{VERSION}-py3-none-any.whl",
        f"vigie-{VERSION}.tar.gz",
        f"vigie-{VERSION}.cdx.json",
        "RELEASE_NOTES.md",
        "SHA256SUMS",
        "SHA256SUMS.sig",
        "csaf/provider-metadata.json",
        "csaf/white/index.txt",
        "csaf/white/changes.csv",
        *(f"csaf/white/2026/vigie-2026-0001.json{end}" for end in ("", ".sha256", ".sha512")),
    }
    components = json.loads((made / f"vigie-{VERSION}.cdx.json").read_text(encoding="utf-8"))
    assert components["metadata"]["component"]["version"] == VERSION
    assert "- A change." in (made / "RELEASE_NOTES.md").read_text(encoding="utf-8")


def test_users_verify_it_and_refuse_one_changed_byte_anywhere(
    clone: Path, made: Path, tmp_path: Path
) -> None:
    verify(clone, made)
    for name in (f"vigie-{VERSION}-py3-none-any.whl", "SHA256SUMS", f"vigie-{VERSION}.cdx.json"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(made, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        verify(clone, copy, fails=True)


def test_the_tag_is_signed_by_the_same_key(clone: Path, made: Path) -> None:
    assert made.is_dir()
    signers = f"gpg.ssh.allowedSignersFile={clone / 'security/allowed_signers'}"
    said = run(clone, "git", "-c", signers, "tag", "--verify", f"v{VERSION}").stderr
    assert 'Good "git" signature for maintainers' in said
