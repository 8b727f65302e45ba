from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from app.console.framework.value_formats import ConsoleFormats
from app.presentation.local_formatter import LocalFormatter

# 15:30 in Paris.
FORMATS = ConsoleFormats(
    LocalFormatter("en", ZoneInfo("Europe/Paris")), datetime(2026, 11, 29, 14, 30, tzinfo=UTC)
)


def test_the_end_of_a_silence_says_which_day() -> None:
    assert ">tomorrow, 08:00<" in FORMATS.ahead("2026-11-30T07:00:00Z")
    assert ">18:00<" in FORMATS.ahead("2026-11-29T17:00:00Z")
    assert ">1 December, 08:00<" in FORMATS.ahead("2026-12-01T07:00:00Z")
    # Tomorrow in Tokyo, where it is 23:30.
    assert ">tomorrow, 00:30<" in FORMATS.ahead("2026-11-29T15:30:00Z", "Asia/Tokyo")


def test_durations_of_details_have_seconds_below_an_hour() -> None:
    assert FORMATS.lasted("2026-11-29T14:28:10Z").replace("\N{NO-BREAK SPACE}", " ") == "1 min 50 s"
    assert FORMATS.since("2026-11-29T14:28:10Z").replace("\N{NO-BREAK SPACE}", " ") == "1 min"
    assert FORMATS.lasted("2026-11-29T12:28:10Z").replace("\N{NO-BREAK SPACE}", " ") == "2 h 1 min"
