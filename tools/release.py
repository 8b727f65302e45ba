"""Makes a release: `uv run python -m tools.release 0.3.0 --key ~/.ssh/vigie_release`.

Run it with `--prepare` first: it writes the version, and moves the entries of the changelog under it. Commit
that, then run it with a key. It checks, builds and signs, verifies the result as a user would, and tags the
commit last. It pushes nothing.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tools import client_packages
from tools.supply_chain import advisories, sbom
from tools.supply_chain.components import ROOT, ComponentError
from tools.supply_chain.licences import LicenceError

SIGNERS: Final = Path("security/allowed_signers")
IDENTITY: Final = "maintainers"
NAMESPACE: Final = "vigie-release"
SUMS: Final = "SHA256SUMS"
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+((a|b|rc)[0-9]+)?")
# The places of the version: file, text before it, text after it.
_PLACES: Final = (
    ("pyproject.toml", '[project]\nname = "vigie"\nversion = "', '"'),
    ("app/__init__.py", '__version__ = "', '"'),
    ("docs/asyncapi.yaml", "  # made from the code: version\n  version: ", "\n"),
    ("uv.lock", 'name = "vigie"\nversion = "', '"'),
)
_UNRELEASED: Final = "## [Unreleased]"


class ReleaseError(Exception):
    """The release cannot be made; the text says why and what to do."""


def run(*command: str, environment: Mapping[str, str] | None = None, text: str | None = None) -> str:
    """Run a program in the repository, and return its output.

    Raises:
        ReleaseError: It fails, or is not installed.
    """
    if shutil.which(command[0]) is None:
        raise ReleaseError(f"{command[0]} is not installed")
    done = subprocess.run(  # noqa: S603 (no shell)
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def prepare(version: str, today: str) -> None:
    """Write the version, and move the entries of the changelog under a heading with it.

    Raises:
        ReleaseError: A file has no such place, or there is nothing to release.
    """
    for name, before, after in _PLACES:
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        pattern = re.compile(f'({re.escape(before)})[^\n"]+({re.escape(after)})')
        new, count = pattern.subn(lambda found: f"{found[1]}{version}{found[2]}", old, count=1)
        if not count:
            raise ReleaseError(f"{name} has no version after {before!r}")
        path.write_text(new, encoding="utf-8")
    path = ROOT / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8")
    if not read_changes(text, "Unreleased"):
        raise ReleaseError(f"CHANGELOG.md has no entries under `{_UNRELEASED}`: there is nothing to release")
    text = text.replace(_UNRELEASED, f"{_UNRELEASED}\n\n## [{version}] - {today}", 1)
    path.write_text(text, encoding="utf-8")


def read_changes(changelog: str, version: str) -> str:
    """Return the entries of a version; empty if there are none."""
    found = re.search(
        rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## \[|\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    return found[1].strip() if found else ""


def find_faults(version: str) -> Iterator[str]:
    """Yield the reasons why the present commit cannot be released as this version."""
    if changed := run("git", "status", "--porcelain").splitlines():
        yield f"{len(changed)} files differ from the commit, such as {changed[0][3:]}. Commit or restore them"
    for name, before, after in _PLACES:
        if f"{before}{version}{after}" not in (ROOT / name).read_text(encoding="utf-8"):
            yield (
                f"{name} has another version than {version}. Run `make release VERSION={version} "
                "ARGS=--prepare`"
            )
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not read_changes(changelog, version) or f"## [{version}] - " not in changelog:
        yield f"CHANGELOG.md has no section `## [{version}] - DATE` with entries"
    if read_changes(changelog, "Unreleased"):
        yield f"CHANGELOG.md has entries under `{_UNRELEASED}`: move them under {version}"
    if _builds_clients() and not client_packages.has_generator():
        yield "the generator of the TypeScript package is missing. Run `make install-tests`"
    if run("git", "tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists already. A released version never changes: choose the next one"


def _builds_clients() -> bool:
    return not os.environ.get("VIGIE_WITHOUT_CLIENTS")


def build(version: str, folder: Path, *, validate: bool) -> None:
    """Build all files of the release.

    Args:
        version: The version.
        folder: A new folder for the files.
        validate: Whether the validator of the BSI checks the statements on vulnerabilities.

    Raises:
        ReleaseError: A build fails.
        ComponentError: A component cannot be described.
        LicenceError: A licence is not allowed.
        advisories.AdvisoryError: A statement does not hold for this version.
        client_packages.ClientBuildError: A client package cannot be built.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Archives get the time of the commit, so that the same commit makes the same bytes.
    commit, moment = run("git", "show", "--no-patch", "--format=%H %ct", "HEAD").split()
    os.environ["SOURCE_DATE_EPOCH"] = moment
    documents = advisories.build_documents()
    if validate:
        advisories.validate_all(list(documents.values()))
    advisories.write_files(folder / "csaf", advisories.build_files(documents))
    (folder / f"vigie-{version}.cdx.json").write_text(sbom.make_sbom(), encoding="utf-8")
    # Packages contain the built guides, unless VIGIE_WITHOUT_GUIDES is set.
    if (ROOT / "tools/guides").is_dir() and not os.environ.get("VIGIE_WITHOUT_GUIDES"):
        run(sys.executable, "-m", "tools.guides")
    run("uv", "build", "--quiet", "--out-dir", str(folder), environment={"VIGIE_COMMIT": commit})
    if _builds_clients():
        client_packages.build_all(folder)
    (folder / ".gitignore").unlink(missing_ok=True)
    changes = read_changes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    (folder / "RELEASE_NOTES.md").write_text(f"# Vigie {version}\n\n{changes}\n", encoding="utf-8")


def write_sums(folder: Path) -> None:
    """Write the sums of all files, as `sha256sum` does."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (
        f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.relative_to(folder)}\n" for each in files
    )
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def sign(folder: Path, key: Path) -> None:
    """Sign the sums, and verify sums and signature as a user does.

    Raises:
        ReleaseError: The key cannot sign, or users do not know it.
    """
    run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(folder / SUMS))
    try:
        verify(folder)
    except ReleaseError as error:
        public = run("ssh-keygen", "-y", "-f", str(key)).strip()
        line = f'{IDENTITY} namespaces="git,{NAMESPACE}" {public}'
        raise ReleaseError(
            f"{SIGNERS} does not have this key, so users could not verify the release. Add the line, and "
            "commit:\n"
            f"{line}\n{error}"
        ) from None


def verify(folder: Path) -> None:
    """Verify the signature and all sums (ReleaseError)."""
    signature = ("-f", str(SIGNERS), "-I", IDENTITY, "-n", NAMESPACE, "-s", str(folder / f"{SUMS}.sig"))
    sums = (folder / SUMS).read_text(encoding="utf-8")
    run("ssh-keygen", "-Y", "verify", *signature, text=sums)
    run("env", "--chdir", str(folder), "sha256sum", "--check", "--strict", "--quiet", SUMS)


def tag(version: str, key: Path) -> None:
    """Tag the commit, signed with the same key, and verify the tag (ReleaseError)."""
    ssh = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={ROOT / SIGNERS}")
    own = ("-c", f"user.signingkey={key}")
    run("git", *ssh, *own, "tag", "--sign", f"v{version}", "--message", f"Vigie {version}")
    run("git", *ssh, "tag", "--verify", f"v{version}")


def make_release(
    version: str, key: Path, folder: Path, report: Callable[[str], object], *, check: bool
) -> None:
    """Check, build, sign and tag.

    Args:
        version: The version.
        key: The file of the private key.
        folder: A new folder for the files.
        report: Prints a line.
        check: Whether to run `make check` and the validator of the BSI too.

    Raises:
        ReleaseError: Something fails; nothing is tagged.
    """
    if not key.is_file():
        raise ReleaseError(f"There is no key {key}. Make one: ssh-keygen -t ed25519 -f {key}")
    if faults := list(find_faults(version)):
        raise ReleaseError("\n".join(faults))
    if check:
        report("make check, make audit …")
        run("make", "check")
        run("make", "audit")
    report("Packages, list of components, statements on vulnerabilities …")
    try:
        build(version, folder, validate=check)
    except (
        ComponentError,
        LicenceError,
        advisories.AdvisoryError,
        client_packages.ClientBuildError,
    ) as error:
        raise ReleaseError(str(error)) from None
    write_sums(folder)
    sign(folder, key)
    tag(version, key)
    report(f"{folder}: built, signed and verified; the commit has the tag v{version}. Publish them:")
    report(f"  git push origin main v{version}")


def main() -> int:
    """Prepare or make a release."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", help="such as 0.3.0")
    parser.add_argument("--prepare", action="store_true", help="only write version and changelog")
    parser.add_argument("--key", type=Path, help="the private key (OpenSSH) that signs the release")
    parser.add_argument("--output", type=Path, help="default: dist/release-VERSION")
    parser.add_argument(
        "--skip-checks",
        action="store_true",
        help="without `make check`, `make audit` and the validation of CSAF",
    )
    given = parser.parse_args()
    folder = (given.output or ROOT / "dist" / f"release-{given.version}").absolute()
    try:
        if _VERSION.fullmatch(given.version) is None:
            raise ReleaseError(f"{given.version!r} is not a version such as 0.3.0 or 0.3.0rc1")  # noqa: TRY301
        if given.prepare:
            prepare(given.version, datetime.now(UTC).date().isoformat())
        elif given.key is None:
            raise ReleaseError("Name the key that signs the release: make release VERSION=… KEY=…")  # noqa: TRY301
        else:
            key = given.key.expanduser().absolute()
            make_release(
                given.version,
                key,
                folder,
                lambda line: sys.stdout.write(f"{line}\n"),
                check=not given.skip_checks,
            )
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
