"""Times of form fields, in the zone of the site."""

import pytest

from app.console.administration.local_inputs import format_local_time, parse_local_time


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("", "UTC", None),
        ("2026-11-29T10:00", "UTC", "2026-11-29T10:00:00Z"),
        ("2026-11-29T10:00", "Europe/Paris", "2026-11-29T09:00:00Z"),
        ("2026-07-01", "Europe/Paris", "2026-06-30T22:00:00Z"),
        ("2026-11-29T10:00:00Z", "Europe/Paris", "2026-11-29T10:00:00Z"),
        # The API refuses it, with the name of the field.
        ("tomorrow", "UTC", "tomorrow"),
    ],
)
def test_a_time_of_a_field_becomes_an_instant(text: str, zone: str, instant: str | None) -> None:
    assert parse_local_time(text, zone) == instant


def test_an_instant_becomes_the_value_of_a_field() -> None:
    assert format_local_time("2026-11-29T09:00:00Z", "Europe/Paris") == "2026-11-29T10:00"
    assert format_local_time(None, "Europe/Paris") == ""
