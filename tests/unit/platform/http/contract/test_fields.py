"""What a name, a box's id, a place, a zone and an instant may look like."""

import unicodedata
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st
from pydantic import ValidationError

from app.platform.http.contract.fields import (
    BoxId,
    Description,
    Identifier,
    Instant,
    Name,
    Point,
    RequestBody,
    SiteKind,
    TenantId,
    Timezone,
    collect_sent_fields,
    make_omittable_field,
    parse_instant_parameter,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import RejectedError


class Everything(RequestBody):
    name: Name = make_omittable_field()
    text: Description | None = make_omittable_field()
    box: BoxId = make_omittable_field()
    kind: SiteKind = make_omittable_field()
    zone: Timezone = make_omittable_field()
    place: Point | None = make_omittable_field()
    identifier: Identifier = make_omittable_field()
    tenant: TenantId = make_omittable_field()
    at: Instant = make_omittable_field()


def code_of(**fields: Any) -> str | None:  # noqa: ANN401 (JSON)
    """The code that a field is refused with; None where it is taken."""
    try:
        Everything.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        cause = fault.get("ctx", {}).get("error")
        return cause.code if isinstance(cause, CodedValueError) else str(fault["type"])
    return None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("Rue d'Alsace-Lorraine", None),
        ("Québec", None),
        ("北京", None),
        ("👩‍🔬 lab", None),
        ("x" * 200, None),
        ("x" * 201, "text_too_long"),
        ("", "invalid_text"),
        (" \t ", "invalid_text"),
        ("a\nb", "invalid_text"),
        ("a\x7fb", "invalid_text"),
        ("a\x00b", "nul_in_text"),
        ("a\u202eb", "invalid_text"),
        ("a\u2066b", "invalid_text"),
        ("\ufeffa", "invalid_text"),
        ("a\ud800b", "invalid_text"),
        ("Que\u0301bec", "name_not_normalised"),
        (3, "string_type"),
        (None, "string_type"),
        (["a"], "string_type"),
    ],
)
def test_names(value: object, code: str | None) -> None:
    assert code_of(name=value) == code


def test_descriptions_have_lines() -> None:
    assert code_of(text="one\r\n\ttwo") is None
    assert code_of(text="") is None
    assert code_of(text=None) is None
    assert code_of(text="x" * 2001) == "text_too_long"
    assert code_of(text="a\x1bb") == "invalid_text"


@pytest.mark.parametrize("value", ["a", "Box_01-b", "-", "9" * 64])
def test_box_ids(value: str) -> None:
    assert code_of(box=value) is None


@pytest.mark.parametrize("value", ["", "a b", "+", "#", "a/b", "$SYS", "é", "a\n", "٣", "a" * 65])
def test_odd_box_ids(value: str) -> None:
    assert code_of(box=value) == "invalid_box_id"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("kind", "street", None),
        ("kind", "open_air-2", None),
        ("kind", "2", "invalid_kind"),
        ("kind", "Street", "invalid_kind"),
        ("kind", "street\n", "invalid_kind"),
        ("zone", "America/Argentina/Buenos_Aires", None),
        ("zone", "UTC", None),
        ("zone", "Europe/paris", "unknown_timezone"),
        ("zone", "/etc/localtime", "unknown_timezone"),
        ("zone", "localtime", "unknown_timezone"),
        ("zone", "", "unknown_timezone"),
        ("place", {"type": "Point", "coordinates": [180, -90]}, None),
        ("place", None, None),
        ("place", {"type": "Point", "coordinates": [180.1, 0]}, "location_out_of_range"),
        ("place", {"type": "Point", "coordinates": [1, 91]}, "location_out_of_range"),
        ("place", {"type": "Point", "coordinates": [float("nan"), 0]}, "location_out_of_range"),
        ("place", {"type": "Point", "coordinates": [1, 2, 3]}, "too_long"),
        ("place", {"type": "Point", "coordinates": ["1", 2]}, "float_type"),
        ("place", {"coordinates": [1, 2]}, "missing"),
        ("place", {"type": "Point", "coordinates": [1, 2], "crs": 1}, "extra_forbidden"),
        ("identifier", "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10", None),
        ("identifier", "x", "uuid_parsing"),
        ("identifier", 3, "uuid_type"),
        ("identifier", None, "uuid_type"),
        ("tenant", None, None),
        ("at", "2026-11-24T10:00:00+01:00", None),
        ("at", 1_795_514_400_000, None),
        ("at", True, "wrong_type"),
        ("at", 1.5, "wrong_type"),
        ("at", "2026-11-24T10:00:00", "time_without_zone"),
        ("at", 1_795_514_400, "time_out_of_range"),
        ("at", "1969-12-31T23:59:59Z", "time_out_of_range"),
        ("at", 2**60, "integer_too_large"),
        ("colour", 1, "extra_forbidden"),
    ],
)
def test_other_fields(field: str, value: object, code: str | None) -> None:
    assert code_of(**{field: value}) == code


def test_a_patch_knows_what_was_given() -> None:
    body = Everything.model_validate({"name": "a", "text": None, "identifier": str(UUID(int=7))})
    assert collect_sent_fields(body) == {"name": "a", "text": None, "identifier": UUID(int=7)}
    schema = Everything.model_json_schema()
    assert "required" not in schema
    assert "default" not in schema["properties"]["name"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T10:00:00Z", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("1795514400000", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        # A plus that was not escaped in the query.
        ("2026-11-24T11:00:00 01:00", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 1, 1, tzinfo=UTC)),
    ],
)
def test_instants_of_queries(text: str, expected: datetime) -> None:
    assert parse_instant_parameter(text) == expected


@pytest.mark.parametrize("text", ["", "now", "2026-11-24 10:00:00Z", "1795514400", "-1", "1e12", "٣"])
def test_odd_instants_of_queries(text: str) -> None:
    with pytest.raises(RejectedError):
        parse_instant_parameter(text)


@generated(st.text(min_size=1, max_size=250))
def test_a_name_that_is_taken_is_plain_normal_text(text: str) -> None:
    if code_of(name=text) is None:
        assert len(text) <= 200
        assert text.strip()
        assert unicodedata.normalize("NFC", text) == text
        assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
