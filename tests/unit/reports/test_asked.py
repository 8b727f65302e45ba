"""Which period is meant, and what a client prefers."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import from_datetime
from app.reports.report_periods import find_previous_slot, resolve_day_slot, resolve_month_slot
from app.reports.router import select_preferred_offer
from tests.unit.reports.sheet import PARIS

MIDNIGHT = from_datetime(datetime(2026, 11, 1, tzinfo=PARIS))
AUCKLAND = ZoneInfo("Pacific/Auckland")


def test_the_last_one_that_is_over_is_meant() -> None:
    assert resolve_day_slot(None, PARIS, MIDNIGHT).first == date(2026, 10, 31)
    assert resolve_day_slot(None, PARIS, MIDNIGHT - 1).first == date(2026, 10, 30)
    assert resolve_month_slot(None, PARIS, MIDNIGHT).first == date(2026, 10, 1)
    assert resolve_month_slot(None, PARIS, MIDNIGHT - 1).first == date(2026, 9, 1)
    # It is later there: the last day is another one.
    assert resolve_day_slot(None, AUCKLAND, MIDNIGHT).first == date(2026, 10, 31)
    assert resolve_day_slot(date(2026, 10, 31), AUCKLAND, MIDNIGHT).last == date(2026, 10, 31)


def test_a_month_has_its_days_and_a_day_its_hours() -> None:
    october = resolve_month_slot("2026-10", PARIS, MIDNIGHT)
    assert (october.first, october.last) == (date(2026, 10, 1), date(2026, 10, 31))
    assert october.period.seconds == (31 * 24 + 1) * 3_600
    assert resolve_day_slot(date(2026, 3, 29), PARIS, MIDNIGHT).period.seconds == 23 * 3_600
    leap = resolve_month_slot("2024-02", PARIS, MIDNIGHT)
    assert leap.last == date(2024, 2, 29)
    assert (find_previous_slot(leap, PARIS).first, find_previous_slot(leap, PARIS).last) == (
        date(2024, 1, 1),
        date(2024, 1, 31),
    )
    first = resolve_day_slot(date(2024, 3, 1), PARIS, MIDNIGHT)
    assert find_previous_slot(first, PARIS).first == date(2024, 2, 29)
    assert find_previous_slot(resolve_month_slot("2024-01", PARIS, MIDNIGHT), PARIS).first == date(
        2023, 12, 1
    )


@pytest.mark.parametrize(
    ("day", "code"),
    [
        (date(2026, 11, 1), "period_not_over"),
        (date.max, "period_not_over"),
        (date(2000, 1, 2), "time_out_of_range"),
        (date.min, "time_out_of_range"),
    ],
)
def test_other_days_are_refused(day: date, code: str) -> None:
    with pytest.raises(InvalidError) as refused:
        resolve_day_slot(day, PARIS, MIDNIGHT)
    assert refused.value.code == code
    assert resolve_day_slot(date(2000, 1, 3), PARIS, MIDNIGHT).first == date(2000, 1, 3)


@pytest.mark.parametrize(
    ("month", "code"),
    [
        ("2026-11", "period_not_over"),
        ("9999-12", "period_not_over"),
        ("2000-01", "time_out_of_range"),
        ("0001-01", "time_out_of_range"),
        ("0000-01", "invalid_value"),
        ("2026-13", "invalid_value"),
        ("2026-1", "invalid_value"),
    ],
)
def test_other_months_are_refused(month: str, code: str) -> None:
    with pytest.raises(InvalidError) as refused:
        resolve_month_slot(month, PARIS, MIDNIGHT)
    assert refused.value.code == code
    assert resolve_month_slot("2000-02", UTC_ZONE, MIDNIGHT).first == date(2000, 2, 1)


UTC_ZONE = ZoneInfo("UTC")
TYPES, LANGUAGES = ("text/html", "application/pdf"), ("en", "fr")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("application/pdf", "application/pdf"),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", "text/html"),
        ("text/html;q=0.4, application/pdf;q=0.5", "application/pdf"),
        ("application/*, text/html;q=0.9", "application/pdf"),
        ("text/html;q=0, */*;q=0.1", "application/pdf"),
        ("application/json", "text/html"),
        ("application/pdf;q=oh, ,;q=1", "text/html"),
        ("APPLICATION/PDF ; Q=0.7", "application/pdf"),
    ],
)
def test_a_client_says_what_it_takes(header: str, wanted: str) -> None:
    assert select_preferred_offer(header, TYPES, separator="/") == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-CA, en;q=0.5", "fr"),
        ("de, en;q=0.3, fr;q=0.7", "fr"),
        ("de", "en"),
        ("*", "en"),
        ("en;q=0, *;q=0.5", "fr"),
        ("fr-FR;q=0.2, en-GB;q=0.9", "en"),
    ],
)
def test_and_in_which_language(header: str, wanted: str) -> None:
    assert select_preferred_offer(header, LANGUAGES, separator="-") == wanted


def test_utc_has_the_same_days() -> None:
    now = from_datetime(datetime(2026, 11, 1, tzinfo=UTC))
    assert resolve_day_slot(None, UTC_ZONE, now).first == date(2026, 10, 31)
