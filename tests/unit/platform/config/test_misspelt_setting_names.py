"""Misspelt settings are found by their names alone."""

import re
from pathlib import Path

import pytest

from app.platform.config.misspelt_setting_names import (
    OTHER_NAMES,
    VariableSource,
    find_misspelt_settings,
    list_setting_names,
)
from app.platform.config.setting_sources import read_variable_names
from app.settings import VigieSettings

KNOWN = list_setting_names(VigieSettings)
ROOT = Path(__file__).parents[4]


def found(*names: str, source: VariableSource = ".env") -> list[tuple[str, str | None]]:
    return [(name, near) for name, near, _ in find_misspelt_settings(dict.fromkeys(names, source), KNOWN)]


@pytest.mark.parametrize("source", ["environment", ".env"])
@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("VIGIE_SMTP__HOTS", "VIGIE_SMTP__HOST"),
        ("VIGIE_API__RATE_PERS", "VIGIE_API__RATE_PER_S"),
        ("VIGIE_WEBHOKS__LEASE", "VIGIE_WEBHOOKS__LEASE_S"),
        ("vigie_smtp__hots", "VIGIE_SMTP__HOST"),
        ("VIGIE_SMTP_HOST", "VIGIE_SMTP__HOST"),
        ("VIGIE__SMTP__HOST", "VIGIE_SMTP__HOST"),
        ("VIGIE_SMTPP", "VIGIE_SMTP"),
        ("VIGIE_BROKER__TLS__ENABELD", "VIGIE_BROKER__TLS__ENABLED"),
        ("VIGIE_METRICPORT", "VIGIE_METRICS_PORT"),
        ("VIGIE_API__HOST__NAME", "VIGIE_API__HOST"),
        ("VIGIE_DATA_DIR", None),
        ("VIGIE_XYZ", None),
        ("VIGIE_", None),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_setting(
    name: str, nearest: str | None, source: VariableSource
) -> None:
    assert found(name, source=source) == [(name, nearest)]


@pytest.mark.parametrize(
    "name",
    [
        "VIGIE_SMTP__HOST",
        "vigie_Smtp__host",
        "VIGIE_SMTP",  # the whole, as JSON
        "VIGIE_BROKER__TLS",
        "VIGIE_BROKER__TLS__CA_FILE",
        "VIGIE_METRICS_PORT",
        "VIGIE_FUZZ_SEED",
        "PATH",
        "",
    ],
)
def test_known_names_and_those_of_others_are_left_alone(name: str) -> None:
    assert found(name) == []
    assert found(name, source="environment") == []


@pytest.mark.parametrize(
    "name",
    ["VIGE_SMTP__HOST", "VIGI_SMTP__HOST", "vgie_smtp__hots", "VIGIESMTP__HOST", "\ufeffVIGE_SMTP__HOST"],
)
def test_a_misspelt_prefix_is_found_in_the_file_alone(name: str) -> None:
    ((_, nearest),) = found(name)
    assert nearest == "VIGIE_SMTP__HOST"
    assert found(name, source="environment") == []


@pytest.mark.parametrize(
    "name", ["VITE_API_HOST", "SMTP_HOST", "VIEW_PORT", "VIGIL_COLOR", "VIGIEWER_PORT", "API__PORT", "DEBUG"]
)
def test_another_programs_name_in_the_file_is_left_alone(name: str) -> None:
    assert found(name) == []


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    # pydantic-settings takes it for one: the first line of such a file is ignored.
    assert found("\ufeffVIGIE_SMTP__HOST") == [("VIGIE_SMTP__HOST…", "VIGIE_SMTP__HOST")]


def test_what_kubernetes_sets_for_a_service_is_known() -> None:
    service = (
        "VIGIE_API_SERVICE_HOST",
        "VIGIE_API_SERVICE_PORT",
        "VIGIE_API_SERVICE_PORT_HTTP",
        "VIGIE_API_PORT",
        "VIGIE_API_PORT_8000_TCP",
        "VIGIE_API_PORT_8000_TCP_ADDR",
    )
    assert found(*service, source="environment") == []
    assert found("VIGIE_API_PORT", source="environment") == [("VIGIE_API_PORT", "VIGIE_API__PORT")]


def test_a_value_after_a_name_without_its_sign_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("VIGIE_SMTP__PASSWORD:hunter2\n")
    assert list(read_variable_names([])) == ["VIGIE_SMTP__PASSWORD:hunter2"]
    assert found(*read_variable_names([])) == [("VIGIE_SMTP__PASSWORD…", "VIGIE_SMTP__PASSWORD")]


def test_names_are_read_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_variable_names(["A"]) == {"A": "environment"}
    file = tmp_path / ".env"
    file.write_text("# VIGIE_NONE=1\nexport VIGIE_One=1\nA=2\nVIGIE_EMPTY=\n")
    assert read_variable_names(["A"]) == {"VIGIE_One": ".env", "A": "environment", "VIGIE_EMPTY": ".env"}
    monkeypatch.setenv("VIGIE_NO_ENV_FILE", "1")
    assert read_variable_names(["A"]) == {"A": "environment"}
    monkeypatch.delenv("VIGIE_NO_ENV_FILE")
    file.write_bytes(b"VIGIE_ONE=\xff\n")
    assert read_variable_names(["A"]) == {"A": "environment"}


def test_every_name_in_the_program_and_its_tools_is_known() -> None:
    files = [ROOT / "Makefile", *(ROOT / "deploy").glob("*.*"), ROOT / "tests" / "openapi.py"]
    files += [*ROOT.glob("compose*.yaml"), *(ROOT / "deploy" / "containers").iterdir()]
    files += [file for folder in ("app", "simulators", "bench") for file in (ROOT / folder).rglob("*.py")]
    used = {name for file in files for name in re.findall(r"\bVIGIE_[A-Z0-9_]*[A-Z0-9]", file.read_text())}
    example = {"VIGIE_SMTP__HOTS", "VIGE_SMTP__HOST"}
    assert used - KNOWN - OTHER_NAMES - example == set()
    assert {name for name in OTHER_NAMES if "FUZZ" not in name} <= used
