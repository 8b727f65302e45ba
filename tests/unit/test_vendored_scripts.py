"""Scripts of other projects that pages load: their files are those of their packages."""

import base64
import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Final

import pytest

from tools.vendor_scripts import ROOT, VendorError, extract_files, verify_archive, write_files
from tools.vendored_packages import CONSOLE_FILES, VENDORED_PACKAGES, VendoredPackage

HASHES: Final = {
    "vendor/uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "vendor/uplot/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "vendor/uplot/LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "vendor/supercluster/supercluster.min.js": (
        "52e16b1abc1c8cdb3719c5f2fc57da44b4fd65eb0d16803c1106d0975afb72b7"
    ),
    "vendor/supercluster/LICENSE.txt": "324139c19d87af03fda38afea1590e00ca354c4159bdb2ae9e9cec070cfa46a8",
    "vendor/supercluster/LICENSE-kdbush.txt": (
        "0aba693a2c2e5b1b1465f9e06d29c21769450add9dbb7dc915b41a60e900196f"
    ),
}


def test_the_files_are_those_of_their_packages() -> None:
    folder = ROOT / CONSOLE_FILES
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "vendor").rglob("*")
        if path.is_file()
    }
    assert found == HASHES


@pytest.mark.parametrize("package", VENDORED_PACKAGES, ids=lambda package: package.name)
def test_a_table_names_each_package_with_its_licence(package: VendoredPackage) -> None:
    table = (ROOT / package.static / "SOURCES.md").read_text(encoding="utf-8")
    line = next(line for line in table.splitlines() if f"`npm pack {package.name}@{package.version}`" in line)
    assert package.integrity in line
    assert package.licence.replace("-", " ", 1) in line
    for published, path in package.files.items():
        assert f"`{published}`" in line
        assert f"`{path}`" in line
        assert (ROOT / package.static / path).is_file()
    assert any(path.rpartition("/")[2].startswith("LICENSE") for path in package.files.values())


def archive_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def package_of(archive: bytes) -> VendoredPackage:
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    return VendoredPackage("x", "1.0.0", f"sha512-{digest}", "MIT", "static", {"LICENSE": "x/LICENSE.txt"})


def test_another_archive_is_refused() -> None:
    archive = archive_of({"LICENSE": b"free"})
    package = package_of(archive)
    verify_archive(package, archive)
    with pytest.raises(VendorError, match=r"x 1\.0\.0 has the integrity sha512-"):
        verify_archive(package, archive_of({"LICENSE": b"changed"}))


def test_only_the_listed_files_are_taken() -> None:
    archive = archive_of({"LICENSE": b"free", "index.js": b"alert()", "../../outside": b"!"})
    package = package_of(archive)
    assert dict(extract_files(package, archive)) == {"static/x/LICENSE.txt": b"free"}
    more = dataclasses.replace(package, files={"dist/x.js": "x/x.js"})
    with pytest.raises(VendorError, match=r"x 1\.0\.0 has no file dist/x\.js"):
        list(extract_files(more, archive))


def test_files_that_are_the_same_are_not_written(tmp_path: Path) -> None:
    files = {"static/x/LICENSE.txt": b"free"}
    assert write_files(tmp_path, files, check=True) == ["static/x/LICENSE.txt"]
    assert not (tmp_path / "static").exists()
    assert write_files(tmp_path, files, check=False) == ["static/x/LICENSE.txt"]
    assert write_files(tmp_path, files, check=True) == []
    (tmp_path / "static/x/LICENSE.txt").write_bytes(b"changed")
    assert write_files(tmp_path, files, check=True) == ["static/x/LICENSE.txt"]
