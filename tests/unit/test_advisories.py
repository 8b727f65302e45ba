"""Statements on vulnerabilities: valid CSAF 2.0, and true of the present program."""

import copy
import csv
import hashlib
import json
from functools import cache
from typing import Any

import pytest

from tools.supply_chain import advisories
from tools.supply_chain.components import ComponentInfo, collect_components, read_version
from tools.supply_chain.licences import LicencePolicy


@cache
def documents() -> dict[str, dict[str, Any]]:
    return advisories.build_documents()


@cache
def components() -> list[ComponentInfo]:
    return collect_components(LicencePolicy.read())


def test_the_validator_of_the_bsi_finds_no_fault_and_finds_those_that_we_make() -> None:
    valid = list(documents().values())
    broken = copy.deepcopy(valid[0])
    del broken["vulnerabilities"][0]["threats"]
    del broken["vulnerabilities"][0]["flags"]
    broken["document"]["tracking"]["version"] = "7"
    *faults, last = advisories.validate_each([*valid, broken], optional=False)
    assert faults == [[]] * len(valid)
    assert {fault.partition(" ")[0] for fault in last} == {"mandatoryTest_6_1_16", "mandatoryTest_6_1_27_9"}


def test_a_statement_names_products_that_the_list_of_components_has() -> None:
    document = documents()["white/2026/vigie-2026-0001.json"]
    (vulnerability,) = document["vulnerabilities"]
    assert vulnerability["cve"] == "CVE-2025-69993"
    products = vulnerability["product_status"]["known_not_affected"]
    leaflet = next(each for each in components() if each.name == "leaflet")
    assert f"Vigie-{read_version()}:leaflet-{leaflet.version}" in products
    purls = json.dumps(document["product_tree"])
    assert leaflet.purl in purls
    assert f"pkg:pypi/vigie@{read_version()}" in purls


@pytest.mark.parametrize("statement", advisories.read_statements(), ids=lambda each: each["id"])
def test_what_a_justification_rests_on_is_still_so(statement: dict[str, Any]) -> None:
    assert list(advisories.check_statement(statement, read_version(), components())) == []
    assert advisories.FOLDER.joinpath(f"{statement['id'].lower()}.toml").is_file()
    assert statement["status"] != "known_not_affected" or statement["checks"]


def test_a_new_version_and_changed_code_need_a_new_look() -> None:
    (statement,) = [each for each in advisories.read_statements() if each["id"] == "VIGIE-2026-0001"]
    (fault,) = advisories.check_statement(statement, "99.0.0", components())
    assert "does not name Vigie 99.0.0 with npm:leaflet 1.9.4. Review it" in fault
    changed = statement | {"checks": [statement["checks"][0] | {"count": 2}]}
    (fault,) = advisories.check_statement(changed, read_version(), components())
    assert "has 1 of" in fault
    missing = statement | {"checks": [statement["checks"][0] | {"files": "app/nowhere/*.js", "count": 0}]}
    assert len(list(advisories.check_statement(missing, read_version(), components()))) == 1


def test_the_folder_has_what_a_provider_publishes() -> None:
    made = advisories.build_files(documents())
    metadata = json.loads(made["provider-metadata.json"])
    publisher = advisories.read_publisher()
    assert metadata["role"] == "csaf_provider"
    assert metadata["canonical_url"] == f"{publisher['folder']}/provider-metadata.json"
    assert metadata["distributions"] == [{"directory_url": f"{publisher['folder']}/white"}]
    index = made["white/index.txt"].splitlines()
    assert [f"white/{path}" for path in index] == list(documents())
    changes = list(csv.reader(made["white/changes.csv"].splitlines()))
    assert [path for path, _ in changes] == index
    for path in index:
        text = made[f"white/{path}"].encode()
        name = path.rpartition("/")[2]
        assert made[f"white/{path}.sha512"] == f"{hashlib.sha512(text).hexdigest()} {name}\n"
        assert documents()[f"white/{path}"]["document"]["tracking"]["id"].lower() == name.removesuffix(
            ".json"
        )
    assert metadata["last_updated"] == changes[0][1]
