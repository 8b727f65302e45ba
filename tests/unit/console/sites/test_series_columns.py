from datetime import UTC, datetime

import pytest

from app.console.sites import series_columns
from app.console.sites.series_columns import choose_bucket

HOUR, DAY = 3_600, 86_400
AT = 1_790_000_000


def at(seconds: float) -> str:
    return datetime.fromtimestamp(AT + seconds, UTC).isoformat()


@pytest.mark.parametrize(
    ("span_s", "points", "interval_s", "bucket"),
    [
        # Samples themselves, where they fit.
        (HOUR, 1_000, 60, None),
        (16 * HOUR, 1_000, 60, None),
        (17 * HOUR, 1_000, 60, "2m"),
        (10, 1_000, 1, None),
        (HOUR, 1_000, 1, "5s"),
        (30 * DAY, 1_000, 60, "1h"),
        # Days over months: nights would be dips.
        (365 * DAY, 1_500, 60, "1d"),
        (20 * 365 * DAY, 1_500, 60, "1w"),
        # Nobody asks for a million points, or for one.
        (DAY, 1_000_000, 1, "1m"),
        (DAY, 0, 1, "30m"),
    ],
)
def test_the_finest_bucket_that_fits_is_chosen(
    span_s: int, points: int, interval_s: int, bucket: str | None
) -> None:
    assert choose_bucket(span_s, points, interval_s) == bucket


def test_samples_become_columns_with_gaps() -> None:
    points = [{"time": at(each), "value": each} for each in (0, 60, 120, 600)]
    page = {"data": [{"box": "a", "metric": "pm2_5", "unit": "µg/m³", "bucket": None, "points": points}]}
    (columns,) = series_columns.join_pages([page], {"a": 60})
    assert columns.t == [AT, AT + 60, AT + 120, AT + 180, AT + 600]
    assert columns.v == [0, 60, 120, None, 600]
    assert columns.lo == columns.hi == []


def test_a_series_continues_on_the_next_page() -> None:
    def page(box: str, *seconds: int) -> dict[str, object]:
        points = [{"time": at(each), "avg": each / 3, "min": 1.0, "max": None} for each in seconds]
        return {"data": [{"box": box, "metric": "laeq", "unit": "dB", "bucket": "1h", "points": points}]}

    pages = [page("a", 0, HOUR), page("a", 2 * HOUR), page("b", 0, HOUR, 2 * HOUR), page("c")]
    found = series_columns.join_pages(pages, {})
    assert [each.box for each in found] == ["a", "b", "c"]
    assert found[0].v == [0, 1_200, 2_400]
    assert found[0].hi == [None] * 3
    grids, shared = series_columns.share_times(found)
    assert grids == [[AT, AT + HOUR, AT + 2 * HOUR], []]
    assert [each["grid"] for each in shared] == [0, 0, 1]


def test_means_have_six_digits() -> None:
    points = [{"time": at(0), "avg": 12.345678912345}, {"time": at(60), "avg": None}]
    page = {"data": [{"box": "a", "metric": "laeq", "unit": "dB", "bucket": "1m", "points": points}]}
    (columns,) = series_columns.join_pages([page], {})
    assert columns.v == [12.3457, None]
    assert columns.lo == []


def test_flagged_samples_and_buckets_are_found() -> None:
    samples = {
        "points": [
            {"time": at(0), "value": 5.0, "flags": []},
            {"time": at(60), "value": 900.0, "flags": ["spike", "out_of_range"]},
        ]
    }
    assert series_columns.find_flagged_samples(samples) == [(AT + 60, 900.0, "spike out_of_range")]
    whole = {"points": [{"time": at(each), "avg": 1.0, "count": 60} for each in (0, 60, 120)]}
    rest = {"points": [{"time": at(0), "avg": 1.0, "count": 60}, {"time": at(60), "avg": 1.0, "count": 58}]}
    assert series_columns.find_flagged_buckets(whole, rest) == [(AT + 60, 1.0, 2), (AT + 120, 1.0, 60)]


def test_alerts_of_a_period_are_each_described_once() -> None:
    def alert(name: str, begin: int, end: int | None) -> dict[str, object]:
        return {
            "id": name,
            "started_at": at(begin),
            "resolved_at": None if end is None else at(end),
            "severity": "warning",
            "metric": "laeq",
            "box": "a",
            "sentence": "Loud",
            "sentence_fr": "Bruyant",
        }

    alerts = [
        alert("over", 0, 10),
        alert("later", 500, None),
        alert("firing", 5, None),
        alert("firing", 5, None),
        alert("within", 50, 90),
    ]
    found = series_columns.describe_alerts(alerts, (AT + 10, AT + 500), "fr")
    assert [each["id"] for each in found] == ["firing", "within"]
    assert found[0]["to"] is None
    assert found[1]["text"] == "Bruyant"
