from datetime import datetime
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import from_datetime
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NO_VALUE

PARIS = ZoneInfo("Europe/Paris")
EN, FR = LocalFormatter("en", PARIS), LocalFormatter("fr", PARIS)


def test_times_are_local_and_given_as_datetimes_or_microseconds() -> None:
    moment = datetime(2026, 11, 24, 0, 5, tzinfo=PARIS)
    for at in (moment, from_datetime(moment)):
        assert (EN.moment(at), FR.moment(at)) == ("24 November, 00:05", "24 novembre, 0\xa0h\xa005")
        assert EN.day(at) == EN.day(moment.date()) == "24 November 2026"
    assert LocalFormatter("en").moment(moment) == "23 November, 23:05"


def test_limits_are_as_their_source_has_them() -> None:
    assert [EN.limit(each, "µg/m³") for each in (15, 2.5, None)] == ["15\xa0µg/m³", "2.5\xa0µg/m³", NO_VALUE]
    assert FR.limit(2.5, "µg/m³") == "2,5\xa0µg/m³"


def test_changes_have_a_sign_unless_they_are_none() -> None:
    assert [EN.signed(each, "dB") for each in (1.24, -1.24, 0.04)] == [
        "+1.2\xa0dB",
        "\u22121.2\xa0dB",
        "0.0\xa0dB",
    ]
