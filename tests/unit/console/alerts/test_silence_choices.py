from zoneinfo import ZoneInfo

from app.console.alerts.silence_choices import SILENCE_ENDS, build_silence_end

PARIS = ZoneInfo("Europe/Paris")


def test_each_choice_has_the_field_of_the_api() -> None:
    assert build_silence_end("PT1H", "", PARIS) == {"duration": "PT1H"}
    assert build_silence_end("morning", "", PARIS) == {"until": {"time": "08:00", "days": 1}}
    assert build_silence_end("until", "2026-07-01T18:30", PARIS) == {"ends_at": "2026-07-01T18:30:00+02:00"}
    assert build_silence_end("until", "2026-12-01T18:30", PARIS) == {"ends_at": "2026-12-01T18:30:00+01:00"}


def test_a_missing_time_is_no_end() -> None:
    assert build_silence_end("until", "", PARIS) is None
    assert build_silence_end("until", "tomorrow", PARIS) is None
    # An unknown choice is left to the API.
    assert build_silence_end("for ever", "", PARIS) == {"duration": "for ever"}


def test_durations_are_those_of_iso_8601() -> None:
    assert all(name.startswith("P") for name in SILENCE_ENDS if name not in {"morning", "until"})
