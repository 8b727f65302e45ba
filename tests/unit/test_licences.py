"""Licences: each component has one, the policy allows it, and what we state of a licence is still so."""

from email.message import Message
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

import pytest

from tools.supply_chain.components import collect_components
from tools.supply_chain.licences import LicenceError, LicencePolicy, is_expression

POLICY: Final = LicencePolicy.read()


class Package(Distribution):
    """A package whose metadata name a licence."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = metadata

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        message = Message()
        for name, value in {"Name": "thing", "Version": "1.0", **self._metadata}.items():
            message[name.replace("_", "-")] = value
        return message.as_string()

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


def licence_text(name: str) -> str:
    """All licence files of an installed package, with single spaces."""
    found = [
        file.read_text(encoding="utf-8")
        for file in distribution(name).files or ()
        if ".dist-info" in str(file) and any(word in file.name.upper() for word in ("LICEN", "COPYING"))
    ]
    assert found, f"{name} has no licence file"
    return " ".join(" ".join(found).split())


def test_each_component_has_an_allowed_licence_and_so_has_each_part() -> None:
    components = collect_components(POLICY)
    groups = {each.name: POLICY.check(each.name, each.kind, each.licence) for each in components}
    assert groups["fastapi"] == "permissive"
    assert groups["certifi"] == "library-copyleft"
    assert groups["postgresql-17"] == "permissive"
    assert groups["fonts-inter"] == "separate-programs"
    parts = [part for each in components for part in each.parts]
    assert len(parts) > 100
    for part in parts:
        POLICY.check(part.name, part.kind, part.licence)


@pytest.mark.parametrize("stated", POLICY.stated.values(), ids=lambda each: each["name"])
def test_the_licence_file_still_says_what_we_state(stated: dict[str, str]) -> None:
    assert stated["evidence"] in licence_text(stated["name"])


@pytest.mark.parametrize("part", POLICY.parts.values(), ids=lambda each: each["name"])
def test_the_wheel_still_says_so_of_its_part(part: dict[str, str]) -> None:
    if "source" not in part:
        assert part["evidence"] in licence_text(part["of"])


@pytest.mark.parametrize(("of", "name"), sorted(POLICY.absent))
def test_the_wheel_does_not_contain_an_optional_part(of: str, name: str) -> None:
    assert not [file for file in distribution(of).files or () if name.lower() in file.name.lower()]


def test_of_two_licences_one_is_enough_and_of_both_each_is_checked() -> None:
    assert POLICY.check("thing", "pypi", "AGPL-3.0-only OR MIT") == "permissive"
    with pytest.raises(LicenceError, match=r"thing has .* forbids AGPL-3.0-only. Replace the component"):
        POLICY.check("thing", "pypi", "AGPL-3.0-only AND MIT")
    with pytest.raises(LicenceError, match="does not list Beerware"):
        POLICY.check("thing", "pypi", "MIT AND Beerware")
    assert POLICY.check("thing", "pypi", "MIT AND MPL-2.0") == "library-copyleft"


def test_licences_of_separate_programs_are_not_allowed_in_python_packages() -> None:
    assert POLICY.check("thing", "deb", "GPL-2.0-or-later") == "separate-programs"
    with pytest.raises(LicenceError, match=r"does not list GPL-2\.0-or-later"):
        POLICY.check("thing", "pypi", "GPL-2.0-or-later")


def test_a_package_without_an_spdx_licence_is_refused_with_the_next_step() -> None:
    assert POLICY.find_licence("thing", Package(License_Expression="MIT")) == "MIT"
    assert POLICY.find_licence("thing", Package(License="BSD-3-Clause")) == "BSD-3-Clause"
    assert POLICY.find_licence("thing", Package(License="3-Clause BSD License")) == "BSD-3-Clause"
    with pytest.raises(LicenceError, match=r"add it to `stated` of security/licences\.toml"):
        POLICY.find_licence("thing", Package(License="BSD"))
    with pytest.raises(LicenceError, match="Add it to `part`"):
        POLICY.find_part_licence("thing", {"name": "lib", "licenses": []})


@pytest.mark.parametrize("text", ["", "BSD", "mit", "MIT or Apache-2.0", "MIT AND", "Apache License 2.0"])
def test_only_expressions_in_the_spelling_of_spdx_count(text: str) -> None:
    assert not is_expression(text)
    assert is_expression("(MIT OR Apache-2.0) AND Unicode-3.0")
