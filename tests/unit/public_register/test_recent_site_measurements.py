"""The last day of a site: energy means, flags, coverage and indices, each against its definition."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from app.platform.kernel.instants import from_datetime
from app.public_register.csv_tables import format_recent_csv
from app.public_register.recent_schemas import build_recent_document
from app.public_register.recent_site_measurements import (
    BoxSamples,
    RecentAggregator,
    build_recent_context,
)
from app.public_register.register_model import PublishedSite, RecentMeasurements
from app.public_register.register_value_formatter import RegisterFormatter
from tests.unit.public_register.test_register_parts import purpose, site

# A quarter past: the last hour that is over is from 11 to 12.
NOW = datetime(2026, 11, 27, 12, 15, tzinfo=UTC)
MINUTE_US = 60_000_000


def minutes(count: int, until: datetime = NOW) -> Any:  # noqa: ANN401
    """So many minutes in a row, the last of which is `until`."""
    return from_datetime(until) - MINUTE_US * np.arange(count - 1, -1, -1, dtype=np.int64)


def noisy(count: int, middle: float) -> Any:  # noqa: ANN401
    """Values that are neither flat nor spiky."""
    return middle + 0.1 * np.sin(np.arange(count))


def gathered(*boxes: BoxSamples, place: PublishedSite | None = None) -> RecentMeasurements:
    open_site = site(
        purpose("air_quality", open_data=True), purpose("noise", open_data=True), purpose("odour")
    )
    gatherer = RecentAggregator(place or open_site, NOW)
    for box in boxes:
        gatherer.add(box)
    return gatherer.result()


def box(values: dict[str, Any], times: Any = None, interval_s: int = 60) -> BoxSamples:  # noqa: ANN401
    count = len(next(iter(values.values())))
    return BoxSamples(None, interval_s, minutes(count) if times is None else times, values)


def test_levels_of_two_boxes_are_averaged_by_energy() -> None:
    found = gathered(box({"laeq": noisy(60, 60.0)}), box({"laeq": noisy(60, 70.0)}))
    (laeq,) = found.metrics
    assert laeq.newest is not None
    # 10·log10((10^6 + 10^7) / 2) = 67.4
    assert laeq.newest.mean == pytest.approx(67.404, abs=0.12)
    assert (laeq.newest.time, laeq.newest.count) == (NOW, 2)
    assert all(value.mean == pytest.approx(67.404, abs=0.12) for value in laeq.values)
    assert sum(value.count for value in laeq.values) == 120


def test_a_gauge_is_averaged_by_its_values_in_quarters_of_an_hour() -> None:
    (pm,) = gathered(box({"pm2_5": noisy(60, 10.0)})).metrics
    starts = [value.time.strftime("%H:%M") for value in pm.values]
    # From 11:16 on; the first minutes are those of a box that has just begun.
    assert starts == ["11:15", "11:30", "11:45", "12:00", "12:15"]
    assert all(value.mean == pytest.approx(10.0, abs=0.1) for value in pm.values)


def test_doubtful_values_are_left_out_and_counted() -> None:
    values = noisy(600, 10.0)
    values[300] = 500.0  # a spike
    values[400] = 5_000.0  # no such instrument measures it
    (pm,) = gathered(box({"pm2_5": values})).metrics
    assert pm.left_out == 2 + 2  # and two minutes of warming up
    assert max(value.mean for value in pm.values) < 11
    # A box that says the same for hours is broken: nothing of it is shown.
    (flat,) = gathered(box({"pm2_5": np.full(600, 10.0)})).metrics
    assert (flat.newest, list(flat.values), flat.left_out) == (None, [], 600)
    card = build_recent_context(gathered(box({"pm2_5": np.full(600, 10.0)})), RegisterFormatter("en"))[
        "cards"
    ][0]
    assert (card["value"], card["chart"]) == ("", None)


def test_coverage_is_of_the_boxes_that_measure_it() -> None:
    (pm,) = gathered(box({"pm2_5": noisy(720, 10.0)})).metrics
    assert pm.coverage == pytest.approx(50.0, abs=0.3)
    both = gathered(box({"pm2_5": noisy(720, 10.0)}), box({"laeq": noisy(1440, 60.0)}))
    assert [each.coverage for each in both.metrics] == pytest.approx([50.0, 100.0], abs=0.3)


def test_what_is_older_than_a_day_or_than_its_purpose_is_not_shown() -> None:
    whole = gathered(box({"laeq": noisy(1500, 60.0)})).metrics[0]
    assert whole.values[0].time >= NOW - timedelta(hours=24)
    young = site(purpose("noise", open_data=True, starts_at=NOW - timedelta(hours=2)))
    found = gathered(box({"laeq": noisy(1500, 60.0)}), place=young).metrics[0]
    assert found.values[0].time >= NOW - timedelta(hours=2)


def test_an_index_is_that_of_the_worst_box_and_says_of_each_metric_how_it_stands() -> None:
    good, poor = {"pm2_5": noisy(180, 4.0), "no2": noisy(180, 8.0)}, {"pm2_5": noisy(180, 60.0)}
    found = gathered(box(good), box(poor))
    (whole,) = found.indices
    assert (whole.method, whole.band and whole.band.key, whole.start.hour) == ("eaqi", "poor", 11)
    assert whole.notes  # not every pollutant has a value
    bands = {each.metric: [index.band and index.band.key for index in each.indices] for each in found.metrics}
    assert bands == {"pm2_5": ["poor"], "no2": ["good"]}


def test_too_little_of_an_hour_has_no_index_and_says_why() -> None:
    times = minutes(20, NOW - timedelta(minutes=20))
    (pm,) = gathered(box({"pm2_5": noisy(20, 10.0)}, times)).metrics
    (index,) = pm.indices
    assert (index.value, index.reason) == (None, "coverage_too_low")
    card = build_recent_context(gathered(box({"pm2_5": noisy(20, 10.0)}, times)), RegisterFormatter("fr"))[
        "cards"
    ][0]
    assert not card["indices"][0]["value"]
    assert card["indices"][0]["text"].endswith(
        "\xa0h\xa000\xa0: une trop petite part de la période a été mesurée"
    )


def test_noise_has_the_energy_mean_of_the_last_hour() -> None:
    (laeq,) = gathered(box({"laeq": noisy(180, 61.0)})).metrics
    (index,) = laeq.indices
    assert (index.method, index.unit) == ("leq", "dB")
    assert index.value == pytest.approx(61.0, abs=0.1)
    assert index.coverage == 100.0


def test_nothing_measured_is_nothing_shown() -> None:
    found = gathered()
    assert (found.metrics, found.indices) == ((), ())
    assert build_recent_document(site(), found).metrics == []


def test_the_same_as_data() -> None:
    found = gathered(box({"laeq": noisy(60, 60.0)}))
    document = build_recent_document(site(licence="etalab-2.0"), found)
    assert document.licence == "etalab-2.0"
    (metric,) = document.metrics
    assert metric.title.fr == "Niveau sonore équivalent, pondéré A"
    lines = format_recent_csv(found).splitlines()
    assert lines[0] == "time,span,metric,unit,mean,values"
    assert lines[1].startswith("2026-11-27T12:15:00Z,newest,laeq,dB,")
    assert len(lines) == 2 + len(metric.values)


def test_boxes_of_one_value_an_hour_are_one_line() -> None:
    times = from_datetime(NOW) - 60 * MINUTE_US * np.arange(20, -1, -1, dtype=np.int64)
    found = gathered(box({"laeq": noisy(21, 60.0)}, times, interval_s=3600))
    card = build_recent_context(found, RegisterFormatter("en"))["cards"][0]
    assert card["chart"].path.count("M") == 1
