"""What is odd about samples, against the same said sample by sample, and against pandas."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalogue.metrics import CATALOGUE, METRICS_BY_NAME, Metric
from app.timeseries.quality.plausible_ranges import NO_PLAUSIBLE_LIMITS, PLAUSIBLE_LIMITS
from app.timeseries.quality.sample_flagging import FLAGS, Flag, FlagEvaluator, MetricSamples
from tests.integration.timeseries.rollups.street import aberdeen

S = 1_000_000
MINUTE = 60 * S
HOUR = 60 * MINUTE
PM = METRICS_BY_NAME["pm2_5"]
SPIKE: tuple[Flag, ...] = ("spike",)
WARM_UP: tuple[Flag, ...] = ("warm_up",)
LATE: tuple[Flag, ...] = ("late",)


def columns(samples: Sequence[tuple[int, float | None]], late: Sequence[bool] | None = None) -> MetricSamples:
    """Samples of (µs, value or None)."""
    return MetricSamples(
        np.array([time for time, _ in samples], np.int64),
        np.array([math.nan if value is None else value for _, value in samples], np.float64),
        np.zeros(len(samples), np.bool_) if late is None else np.array(late, np.bool_),
    )


def every(values: Sequence[float | None], step_us: int = MINUTE) -> list[tuple[int, float | None]]:
    return [(place * step_us, value) for place, value in enumerate(values)]


def flagged(
    metric: Metric, flag: Flag, samples: Sequence[tuple[int, float | None]], interval_s: int = 60
) -> list[int]:
    """The places of those that have a flag."""
    found = FlagEvaluator.of(metric, interval_s, (flag,)).flags(columns(samples))
    assert list(found) == [flag]
    return np.flatnonzero(found[flag]).tolist()


def plainly(metric: Metric, samples: Sequence[tuple[int, float | None]], interval_s: int) -> list[set[str]]:
    """The same as the documents have it, one sample at a time and in no hurry."""
    limits = PLAUSIBLE_LIMITS[metric.name]
    measured = [(time, value) for time, value in samples if value is not None]
    near = max(HOUR, 10 * interval_s * S)
    gap = max(10 * MINUTE, 10 * interval_s * S)
    found: list[set[str]] = []
    for time, value in samples:
        said: set[str] = set()
        found.append(said)
        if value is None:
            continue
        place = bisect_left(measured, (time, value))
        if not (-math.inf if limits.low is None else limits.low) <= value <= (limits.high or math.inf):
            said.add("out_of_range")
        if limits.spike_floor is not None and stands_out(measured, place, near, limits.spike_floor):
            said.add("spike")
        flat = max(limits.flat_s or math.inf, 20 * interval_s) * S
        if value not in limits.rests and same_for(measured, place, near) >= flat:
            said.add("flat_line")
        times = [at for at, _ in samples if at <= time]
        begun = max(at for number, at in enumerate(times) if number == 0 or at - times[number - 1] > gap)
        if time - begun < limits.warm_up_s * S:
            said.add("warm_up")
    return found


def stands_out(measured: Sequence[tuple[int, float]], place: int, near: int, floor: float) -> bool:
    time, value = measured[place]
    before = [each for at, each in measured[:place] if time - at <= near][-5:]
    after = [each for at, each in measured[place + 1 :] if at - time <= near][:5]
    count = min(len(before), len(after))
    if count < 3:
        return False
    window = [*before[-count:], value, *after[:count]]
    middle = median(window)
    deviation = median(abs(each - middle) for each in window)
    return abs(value - middle) > max(5 * 1.4826 * deviation, floor)


def same_for(measured: Sequence[tuple[int, float]], place: int, near: int) -> int:
    """How long the value is the same around a place (µs)."""

    def goes_on(one: int, other: int) -> bool:
        (begin, value), (end, following) = measured[one], measured[other]
        return value == following and end - begin <= near

    first = last = place
    while first and goes_on(first - 1, first):
        first -= 1
    while last + 1 < len(measured) and goes_on(last, last + 1):
        last += 1
    return measured[last][0] - measured[first][0]


SERIES = st.lists(
    st.tuples(
        # Mostly a minute after the one before, now and then after an hour or two.
        st.sampled_from([1, 1, 1, 1, 1, 7, 60, 61, 125]),
        st.sampled_from([None, 0.0, 5.0, 5.0, 5.0, 6.5, 7.0, 12.0, 40.0, 1000.0, 1000.5]),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=25,
)


def unrolled(series: Sequence[tuple[int, float | None, int]]) -> list[tuple[int, float | None]]:
    """Stretches of the same value become samples a minute apart."""
    samples: list[tuple[int, float | None]] = []
    at = 0
    for wait, value, count in series:
        at += (wait - 1) * MINUTE
        for _ in range(count):
            at += MINUTE
            samples.append((at, value))
    return samples


@settings(max_examples=40, deadline=None)
@given(SERIES, st.sampled_from(["pm2_5", "no2", "laeq"]), st.sampled_from([1, 60, 900]))
def test_flags_are_what_the_documents_say(
    series: list[tuple[int, float | None, int]], name: str, interval_s: int
) -> None:
    samples, metric = unrolled(series), METRICS_BY_NAME[name]
    found = FlagEvaluator.of(metric, interval_s, FLAGS).flags(columns(samples))
    said = [{flag for flag in FLAGS if found[flag][place]} for place in range(len(samples))]
    assert said == plainly(metric, samples, interval_s)


@settings(max_examples=40, deadline=None)
@given(SERIES, st.sampled_from([1, 60, 900]), st.data())
def test_flags_do_not_depend_on_what_is_read_beyond_their_reach(
    series: list[tuple[int, float | None, int]], interval_s: int, data: st.DataObject
) -> None:
    samples = unrolled(series)
    whole = columns(samples)
    for flags in (FLAGS, *((flag,) for flag in FLAGS)):
        judge = FlagEvaluator.of(PM, interval_s, flags)
        expected = judge.flags(whole)
        # Where something begins there is most to be mistaken about.
        begun = [time for time, before in pairwise(whole.times[::-1].tolist()) if time - before > MINUTE]
        for first in [data.draw(st.sampled_from(whole.times.tolist())), *begun]:
            last = first + data.draw(st.sampled_from([1, 30 * MINUTE, 5 * HOUR]))
            read = (whole.times >= first - judge.before_us) & (whole.times < last + judge.after_us)
            if not judge.needs_all:
                read &= ~np.isnan(whole.values)
            part = MetricSamples(*(getattr(whole, name)[read] for name in ("times", "values", "late")))
            own = (part.times >= first) & (part.times < last)
            for flag, found in judge.flags(part).items():
                same = expected[flag][np.searchsorted(whole.times, part.times[own])]
                assert found[own].tolist() == same.tolist(), flag


def test_spikes_of_a_city_are_those_that_pandas_finds() -> None:
    judge = FlagEvaluator.of(METRICS_BY_NAME["pm10"], 145, SPIKE)
    checked = found = 0
    for samples in aberdeen().values():
        values = {
            sample["time"]: sample["values"]["pm10"] for sample in samples if "pm10" in sample["values"]
        }
        frame = pd.Series(values, dtype=float)
        index = pd.DatetimeIndex(pd.to_datetime(list(values), format="ISO8601", utc=True))
        frame.index = index.tz_localize(None)
        frame = frame[~frame.index.duplicated()].sort_index()
        middle = frame.rolling(11, center=True).median()
        deviation = frame.rolling(11, center=True).apply(
            lambda window: np.median(np.abs(window - np.median(window))), raw=True
        )
        expected = (frame - middle).abs() > np.maximum(5 * 1.4826 * deviation, 20)
        times = frame.index.to_numpy("datetime64[us]").astype(np.int64)
        judged = judge.flags(MetricSamples(times, frame.to_numpy(), np.zeros(len(frame), np.bool_)))["spike"]
        # Where eleven values lie within an hour, there is nothing else to be said.
        full = (pd.Series(times).diff(10).shift(-5) <= 50 * MINUTE).to_numpy()
        assert (judged[full] == expected.to_numpy()[full]).all()
        checked += int(full.sum())
        found += int(judged[full].sum())
    assert checked > 8_000
    assert found > 0


STEADY = [10.0, 10.2, 9.9, 10.1, 10.0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([*STEADY, 60.0, *STEADY], [5]),
        ([*STEADY, 60.0, 61.0, *STEADY], [5, 6]),
        # Four among eleven; seven would have taken them for what is usual.
        ([*STEADY, 60.0, 61.0, 62.0, 60.0, *STEADY], [5, 6, 7, 8]),
        # Within the floor of 10 µg/m³, however still it is around.
        ([*STEADY, 19.9, *STEADY], []),
        ([*[10.0] * 5, 20.0, *[10.0] * 5], []),
        ([*[10.0] * 5, 20.5, *[10.0] * 5], [5]),
        # A step, up or down, is none.
        ([*STEADY, *(60.0 + value for value in STEADY)], []),
        ([*(60.0 + value for value in STEADY), *STEADY], []),
        # Where all is restless nothing stands out.
        ([10, 60, 15, 80, 5, 70, 12, 66, 9, 75, 30], []),
        # The newest three, and the first three, are not judged yet.
        ([*STEADY, 60.0, 10.0, 10.1], []),
        ([*STEADY, 60.0, 10.0, 10.1, 10.0], [5]),
        ([10.0, 10.1, 60.0, *STEADY], []),
        ([10.0, 10.1, 10.0, 60.0, *STEADY], [3]),
        # What has no value is passed over.
        ([10.0, None, 10.1, None, 10.0, 60.0, None, 10.0, 10.1, 10.0], [5]),
        ([], []),
    ],
)
def test_spikes(values: list[float | None], expected: list[int]) -> None:
    assert flagged(PM, "spike", every(values)) == expected


def test_values_an_hour_apart_are_not_compared() -> None:
    values: list[float | None] = [*STEADY, 60.0, *STEADY]
    assert flagged(PM, "spike", every(values, 20 * MINUTE)) == [5]
    assert flagged(PM, "spike", every(values, 21 * MINUTE)) == []
    # Of a box that samples so rarely they are.
    assert flagged(PM, "spike", every(values, 21 * MINUTE), interval_s=1260) == [5]


@pytest.mark.parametrize(
    ("name", "value", "minutes", "flat"),
    [
        ("pm2_5", 7.0, 240, True),
        ("pm2_5", 7.0, 239, False),
        ("pm2_5", 0.0, 240, True),
        ("laeq", 45.1, 60, True),
        ("laeq", 45.1, 59, False),
        ("no2", 0.0, 1_000, False),
        ("no2", 3.0, 240, True),
        ("co2", 400.0, 1_000, False),
        ("humidity", 100.0, 1_000, False),
        # As four bytes have it, which is what is read.
        ("humidity", float(np.float32(99.9)), 1_000, False),
        ("humidity", 55.0, 360, True),
        ("illuminance", 0.0, 1_000, False),
        ("illuminance", 3.0, 120, True),
        ("battery", 87.0, 10_000, False),
        ("rssi", -67.0, 10_000, False),
    ],
)
def test_flat_lines(name: str, value: float, minutes: int, flat: bool) -> None:  # noqa: FBT001 (a column of the table)
    values = [value + 1, *[value] * (minutes + 1), value + 1]
    expected = list(range(1, minutes + 2)) if flat else []
    assert flagged(METRICS_BY_NAME[name], "flat_line", every(values)) == expected


def test_a_flat_line_of_a_box_that_samples_rarely_takes_twenty_intervals() -> None:
    values = [7.0] * 21
    assert flagged(PM, "flat_line", every(values, HOUR), interval_s=3600) == list(range(21))
    assert flagged(PM, "flat_line", every(values[1:], HOUR), interval_s=3600) == []


def test_a_gap_ends_a_flat_line() -> None:
    half = 125 * MINUTE
    samples = [
        (at, 7.0)
        for at in (*range(0, half, MINUTE), *range(half + 61 * MINUTE, 2 * half + 61 * MINUTE, MINUTE))
    ]
    assert flagged(PM, "flat_line", samples) == []
    samples = [
        (at, 7.0)
        for at in (*range(0, half, MINUTE), *range(half + 59 * MINUTE, 2 * half + 59 * MINUTE, MINUTE))
    ]
    assert len(flagged(PM, "flat_line", samples)) == len(samples)


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("pm2_5", 2), ("co2", 3), ("no2", 60), ("tvoc", 15), ("temperature", 0), ("laeq", 0)],
)
def test_warm_up(name: str, minutes: int) -> None:
    on = 90
    # Ten minutes are no gap, eleven are.
    begins = (0, (on + 9) * MINUTE, (2 * on + 19) * MINUTE)
    samples = [(begin + place * MINUTE, 500.0) for begin in begins for place in range(on)]
    assert samples[on][0] - samples[on - 1][0] == 10 * MINUTE
    assert samples[2 * on][0] - samples[2 * on - 1][0] == 11 * MINUTE
    expected = [begin + place for begin in (0, 2 * on) for place in range(minutes)]
    assert flagged(METRICS_BY_NAME[name], "warm_up", samples) == expected


def test_a_box_is_on_while_it_sends_anything() -> None:
    # Dust is measured every twenty minutes, something else every minute.
    samples = [(place * MINUTE, 7.0 if place % 20 == 0 else None) for place in range(120)]
    assert flagged(PM, "warm_up", samples) == [0]
    assert flagged(PM, "warm_up", [each for each in samples if each[1] is not None]) == list(range(6))


def test_a_gap_is_ten_intervals_at_least() -> None:
    assert flagged(PM, "warm_up", every([7.0] * 4, 9 * HOUR), interval_s=3600) == [0]
    assert flagged(PM, "warm_up", every([7.0] * 4, 11 * HOUR), interval_s=3600) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value", "odd"),
    [
        ("pm2_5", 1000.0, False),
        ("pm2_5", 1000.1, True),
        ("temperature", -40.0, False),
        ("temperature", -40.1, True),
        ("temperature", 60.1, True),
        ("co2", 349.9, True),
        ("humidity", 0.0, True),
        ("odour", 1e6, False),
    ],
)
def test_ranges_include_their_ends(name: str, value: float, odd: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert flagged(METRICS_BY_NAME[name], "out_of_range", every([value])) == ([0] if odd else [])


def test_late_is_what_was_stored_of_a_value() -> None:
    samples = columns(every([1.0, None, 2.0, 3.0]), late=[True, True, False, True])
    judge = FlagEvaluator.of(PM, 60, LATE)
    assert judge.flags(samples)["late"].tolist() == [True, False, False, True]


def test_what_is_not_asked_for_needs_no_context() -> None:
    assert FlagEvaluator.of(PM, 60, ("late", "out_of_range")).before_us == 0
    assert FlagEvaluator.of(PM, 60, ()).after_us == 0
    # Two minutes, and a gap before them.
    assert FlagEvaluator.of(PM, 60, WARM_UP).before_us == 12 * MINUTE
    # As far as a flat line, and the value before it.
    assert FlagEvaluator.of(PM, 60, FLAGS).before_us == 5 * HOUR
    assert FlagEvaluator.of(METRICS_BY_NAME["battery"], 60, FLAGS).after_us == HOUR


def test_every_metric_has_its_limits() -> None:
    assert set(PLAUSIBLE_LIMITS) == {metric.name for metric in CATALOGUE}, (
        "say what is usual of the new metric"
    )
    for metric in CATALOGUE:
        limits = PLAUSIBLE_LIMITS[metric.name]
        # Never wider than what is taken at the doors.
        assert metric.minimum <= (metric.minimum if limits.low is None else limits.low), metric.name
        assert metric.maximum >= (metric.maximum if limits.high is None else limits.high), metric.name
        assert limits.why or limits.high is None, metric.name
        assert all(metric.minimum <= rest <= metric.maximum for rest in limits.rests), metric.name


def test_a_metric_without_limits_is_flagged_late_alone() -> None:
    values: list[Any] = [1.0] * 3 + [1e9] + [1.0] * 3
    found = FlagEvaluator(NO_PLAUSIBLE_LIMITS, 60, frozenset(FLAGS)).flags(
        columns(every(values), late=[True] + [False] * 6)
    )
    assert {flag for flag, each in found.items() if each.any()} == {"late"}
