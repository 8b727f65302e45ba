"""The list of components: whole, valid by CycloneDX's schema, the same each time."""

import json
import re
import subprocess
import sys
from functools import cache
from typing import Any, Final

import pytest

from tools.supply_chain import components, sbom
from tools.supply_chain.licences import LicencePolicy
from tools.vendored_packages import VENDORED_PACKAGES

INSTALLER: Final = components.ROOT / "deploy/install.sh"


@cache
def text() -> str:
    return sbom.make_sbom()


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text())
    return found


def named(kind: str) -> dict[str, dict[str, Any]]:
    listed = document()["components"]
    return {each["name"]: each for each in listed if each["properties"][0]["value"] == kind}


def test_it_is_valid_and_the_validator_finds_faults() -> None:
    assert list(sbom.validate_sbom(text())) == []
    broken = document()
    broken["components"][0]["licenses"] = [{"license": {"id": "no-such-licence"}}]
    broken["components"][1]["colour"] = "blue"
    assert len(list(sbom.validate_sbom(json.dumps(broken)))) == 2


def test_it_names_what_vigie_imports_with_the_locked_versions_and_hashes() -> None:
    packages = named("pypi")
    assert {"fastapi", "sqlalchemy", "weasyprint", "starlette", "aiosmtplib"} <= packages.keys()
    # Groups of developers, and other systems' packages, are not in it.
    assert not {"pytest", "ruff", "cyclonedx-python-lib", "matplotlib", "colorama"} & packages.keys()
    fastapi = packages["fastapi"]
    assert fastapi["purl"] == f"pkg:pypi/fastapi@{fastapi['version']}"
    assert all(each["hashes"][0]["alg"] == "SHA-256" for each in fastapi["externalReferences"])
    needs = {each["ref"]: each.get("dependsOn", []) for each in document()["dependencies"]}
    assert packages["starlette"]["bom-ref"] in needs[fastapi["bom-ref"]]
    root = document()["metadata"]["component"]
    assert root["version"] == components.read_version()
    assert fastapi["bom-ref"] in needs[root["bom-ref"]]


def test_it_names_what_wheels_contain() -> None:
    parts = {part["name"]: part for part in named("pypi")["cryptography"]["components"]}
    assert parts["openssl"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert parts["pyo3"]["purl"].startswith("pkg:cargo/pyo3@")
    # Addresses of the machine that built the wheel are cut off.
    assert "file://" not in text()


def test_it_names_the_scripts_with_the_hashes_of_their_archives() -> None:
    scripts = named("npm")
    assert scripts.keys() == {each.name for each in VENDORED_PACKAGES}
    assert len(scripts["leaflet"]["hashes"][0]["content"]) == 128


def test_it_names_the_packages_that_the_installer_installs() -> None:
    shell = INSTALLER.read_text(encoding="utf-8").partition("missing_packages() {")[2].partition("\n}")[0]
    lines = [line for line in shell.splitlines() if "$with_tests" not in line]
    installed = {name for line in lines for name in re.findall(r"printf '([a-z0-9.+%-]+) '", line)}
    assert len(installed) >= 10
    missing = {name.replace("%s", "17") for name in installed} - named("deb").keys()
    assert not missing, "add them to security/components.toml, with their licence and use"


def test_the_same_sources_make_the_same_bytes_in_another_process() -> None:
    program = "import sys; from tools.supply_chain.sbom import make_sbom; sys.stdout.write(make_sbom())"
    command = [sys.executable, "-c", program]
    environment = {"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"}
    made = subprocess.run(  # noqa: S603 (no shell)
        command, cwd=components.ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert made.stdout == text()


def test_its_time_is_the_one_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "timestamp" not in document()["metadata"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795959600")
    built = sbom.build_sbom("1.0", [], [])
    assert json.loads(sbom.render_sbom(built))["metadata"]["timestamp"] == "2026-11-29T13:40:00+00:00"


def test_a_package_of_another_version_than_the_locked_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = components._read_lock()
    locked["fastapi"]["version"] = "0.0.1"
    monkeypatch.setattr(components, "_read_lock", lambda: locked)
    with pytest.raises(components.ComponentError, match=r"uv.lock names 0\.0\.1. Run `uv sync --frozen`"):
        list(components.collect_python_packages(LicencePolicy.read()))
