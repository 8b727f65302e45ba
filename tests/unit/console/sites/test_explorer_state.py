from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from starlette.datastructures import QueryParams

from app.console.framework.api_calls import encode_query
from app.console.sites.explorer_state import ExplorerState, read_explorer_state

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


def read(query: str, preferred: tuple[str | None, ...] = ()) -> ExplorerState:
    return read_explorer_state(
        QueryParams(query),
        metrics=["pm2_5", "no2", "laeq"],
        boxes=["a", "b", "c"],
        zone=PARIS,
        now=NOW,
        preferred=preferred,
    )


def test_without_parameters_it_shows_a_day_of_the_first_box() -> None:
    state = read("")
    assert (state.metrics, state.boxes, state.span) == (["pm2_5"], ["a"], "24h")
    assert (state.first, state.last) == (NOW - timedelta(days=1), NOW)


def test_the_metric_of_a_firing_alert_comes_first() -> None:
    assert read("", (None, "laeq", "no2")).metrics == ["laeq"]
    assert read("metric=no2", ("laeq",)).metrics == ["no2"]


def test_unknown_metrics_boxes_ranges_and_buckets_are_left_out() -> None:
    state = read("metric=gold&metric=no2&metric=no2&box=x&box=c&range=9y&bucket=7m&compare=later")
    assert (state.metrics, state.boxes, state.span, state.bucket) == (["no2"], ["c"], "24h", "")
    assert not state.compares
    assert not state.refused


def test_times_without_an_offset_are_those_of_the_site() -> None:
    state = read("from=2026-11-24T08:00&to=2026-11-24T10:00:00Z")
    assert state.first == datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert state.last == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert state.span == ""


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-11-24T10:00&to=2026-11-24T10:00",
        "from=2026-11-25&to=2026-11-24",
        "from=yesterday&to=today",
        "to=2026-11-24T10:00",
        "from=0001-01-01T00:00&to=9999-12-31T23:59:59-12:00",
    ],
)
def test_an_unusable_period_is_told(query: str) -> None:
    state = read(query)
    assert state.refused
    assert state.span == "24h"


@pytest.mark.parametrize(
    "query", ["metric=laeq&box=b&box=c&range=1y&compare=previous", "metric=no2&box=a&bucket=1h&range=7d"]
)
def test_the_state_is_an_address_again(query: str) -> None:
    assert QueryParams(encode_query(read(query).query())) == QueryParams(query)


def test_a_chosen_period_is_an_address_again() -> None:
    state = read("from=2026-11-24T08:00&to=2026-11-24T10:00:00.250Z")
    again = read(encode_query(state.query()))
    assert (again.first, again.last) == (state.first, state.last)
