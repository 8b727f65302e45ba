from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.weekly_hour_fields import HoursSpan, HoursSpans
from app.platform.kernel.weekly_hours import make_weekly_hours

SPANS: TypeAdapter[list[HoursSpan]] = TypeAdapter(HoursSpans)


def code(value: Any) -> str:  # noqa: ANN401 (whatever JSON holds)
    with pytest.raises(ValidationError) as caught:
        SPANS.validate_python(value)
    return get_field_error_code(caught.value.errors()[0])


@pytest.mark.parametrize(
    "span",
    [
        {"from": "22:00", "to": "06:00"},
        {"from": "00:00", "to": "24:00"},
        {"from": "09:00", "to": "09:00"},
        {"days": ["thu", "sun"], "from": "08:00", "to": "18:30"},
    ],
)
def test_spans_are_stored_as_they_were_given(span: dict[str, Any]) -> None:
    (taken,) = SPANS.validate_python([span])
    assert taken.stored() == span
    assert make_weekly_hours([taken.stored()], "UTC").active(8 * 3_600_000_000) is (span["to"] != "06:00")


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"from": "24:00", "to": "06:00"}, "invalid_hours"),
        ({"from": "22:00", "to": "24:01"}, "invalid_hours"),
        ({"from": "7:00", "to": "08:00"}, "invalid_hours"),
        ({"from": "07:60", "to": "08:00"}, "invalid_hours"),
        ({"from": "07:00\n", "to": "08:00"}, "invalid_hours"),
        ({"from": "\u06607:00", "to": "08:00"}, "invalid_hours"),
        ({"from": "07:00:00", "to": "08:00"}, "invalid_hours"),
        ({"from": 7, "to": "08:00"}, "wrong_type"),
        ({"from": "07:00"}, "missing_field"),
        ({"from_": "07:00", "to": "08:00"}, "missing_field"),
        ({"from": "07:00", "to": "08:00", "zone": "UTC"}, "unknown_field"),
        ({"from": "07:00", "to": "08:00", "days": []}, "invalid_value"),
        ({"from": "07:00", "to": "08:00", "days": ["mon", "mon"]}, "invalid_hours"),
        ({"from": "07:00", "to": "08:00", "days": ["monday"]}, "invalid_value"),
        ({"from": "07:00", "to": "08:00", "days": "mon"}, "wrong_type"),
    ],
)
def test_what_is_no_span_is_refused(span: dict[str, Any], expected: str) -> None:
    assert code([span]) == expected


def test_there_are_some_spans_and_not_too_many() -> None:
    assert code([]) == "invalid_value"
    assert code([{"from": "07:00", "to": "08:00"}] * 51) == "invalid_value"
