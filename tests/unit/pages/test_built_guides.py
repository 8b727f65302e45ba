"""The files of the guides: which addresses they have, and that a new build takes the place of the old one."""

import os
from pathlib import Path

import pytest

from app.pages.built_guides import find_guides, load_guide


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "index.html",
        "readme.html",
        "rules.html",
        "operations/index.html",
        "operations/settings.html",
        "_images/map.png",
        "_static/guides.css",
        "asyncapi.yaml",
        "objects.inv",
        ".buildinfo",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content of {name}")
    (tmp_path / "stamp.txt").write_text("1")
    return tmp_path


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("rules", "rules.html"),
        ("rules.html", "rules.html"),
        ("operations/settings", "operations/settings.html"),
        ("operations/index", "operations/index.html"),
        ("_static/guides.css", "_static/guides.css"),
        ("asyncapi.yaml", "asyncapi.yaml"),
    ],
)
def test_an_address_has_its_file(folder: Path, address: str, file: str) -> None:
    guides = find_guides(folder)
    assert guides is not None
    assert guides.files[address] == folder / file
    assert address not in guides.moved


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("", "index"),
        ("rules.md", "rules"),
        ("README.md", "readme"),
        ("operations", "operations/index"),
        ("operations/", "operations/index"),
        ("operations.md", "operations/index"),
        ("operations/README.md", "operations/index"),
        ("img/map.png", "_images/map.png"),
    ],
)
def test_a_former_address_leads_to_the_present_one(folder: Path, address: str, target: str) -> None:
    guides = find_guides(folder)
    assert guides is not None
    assert guides.moved[address] == target
    assert target in guides.files


@pytest.mark.parametrize(
    "address", ["stamp.txt", "objects.inv", ".buildinfo", "../rules", "operations/../rules", "/"]
)
def test_nothing_else_has_an_address(folder: Path, address: str) -> None:
    guides = find_guides(folder)
    assert guides is not None
    assert address not in {*guides.files, *guides.moved}


def test_without_a_stamp_there_are_no_guides(folder: Path) -> None:
    (folder / "stamp.txt").unlink()
    assert find_guides(folder) is None


def test_a_new_build_is_found(folder: Path) -> None:
    first = find_guides(folder)
    assert first is not None
    assert load_guide(first.files["rules"], first.build).body == b"content of rules.html"
    (folder / "rules.html").write_text("new")
    (folder / "new.html").write_text("new")
    os.utime(folder / "stamp.txt", ns=(first.build + 1_000, first.build + 1_000))
    second = find_guides(folder)
    assert second is not None
    assert "new" in second.files
    assert load_guide(second.files["rules"], second.build).body == b"new"
