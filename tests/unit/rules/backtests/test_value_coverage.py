"""The data of a back-test: how long there were values, and their extremes."""

from app.catalogue.metrics import COLUMNS, INDEX
from app.platform.kernel.instants import US_PER_S
from app.rules.backtests.value_coverage import ValueCoverage

PM10, NO2 = INDEX["pm10"], INDEX["no2"]
MINUTE = 60 * US_PER_S
DAY = 86_400 * US_PER_S


def row(**values: float) -> tuple[float | None, ...]:
    return tuple(values.get(name) for name in COLUMNS)


def take(
    found: ValueCoverage, box: int, minutes: list[int], rows: list[tuple[float | None, ...]]
) -> ValueCoverage:
    found.take_samples(box, MINUTE, ([each * MINUTE for each in minutes], rows), {PM10}, {PM10})
    return found


def test_values_last_until_the_next_one_and_two_intervals_at_most() -> None:
    found = take(ValueCoverage(), 1, [0, 1, 2, 60], [row(pm10=value) for value in (20, 10, 30, 25)])
    rendered = found.render([1], DAY, {"pm10": {80.0}})
    # Two minutes, two of the gap, and one after the last value.
    assert rendered["longest_s"] == 300
    assert rendered["measured"] == [
        {"name": "pm10", "values": 4, "lowest": 10, "highest": 30, "thresholds": [80.0]}
    ]


def test_pages_of_any_size_give_the_same() -> None:
    minutes, rows = list(range(10)), [row(pm10=value) for value in range(10)]
    whole = take(ValueCoverage(), 1, minutes, rows)
    parts = ValueCoverage()
    for each, values in zip(minutes, rows, strict=True):
        take(parts, 1, [each], [values])
    assert parts.render([1], DAY, {}) == whole.render([1], DAY, {})
    assert whole.render([1], DAY, {})["longest_s"] == 600


def test_other_metrics_and_silent_boxes_do_not_count() -> None:
    found = take(ValueCoverage(), 1, [0, 1, 2], [row(no2=1.0), row(pm10=5.0), row(no2=1.0)])
    rendered = found.render([1, 2], 10 * MINUTE, {})
    assert (rendered["boxes"], rendered["boxes_with_values"], rendered["longest_s"]) == (2, 1, 60)
    assert rendered["share"] == 0.05
    assert rendered["measured"][0]["values"] == 1


def test_no_box_covers_more_than_the_range() -> None:
    found = take(ValueCoverage(), 1, [0], [row(pm10=5.0)])
    assert found.render([1], MINUTE // 2, {})["share"] == 1
    assert ValueCoverage().render([], DAY, {}) == {
        "boxes": 0,
        "boxes_with_values": 0,
        "longest_s": 0.0,
        "share": 0.0,
        "measured": [],
    }


def test_periods_of_an_index_count_with_their_length() -> None:
    found = ValueCoverage()
    for value in (2.0, 4.0):
        found.take_period(1, "eaqi", value, 3_600 * US_PER_S)
    rendered = found.render([1], DAY, {})
    assert rendered["longest_s"] == 7_200
    assert rendered["measured"] == [
        {"name": "eaqi", "values": 2, "lowest": 2.0, "highest": 4.0, "thresholds": []}
    ]
