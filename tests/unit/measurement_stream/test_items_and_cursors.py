"""Tokens, filters in memory, the window of newest items, and what a site's purposes show. No service."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.measurement_stream.item_filter import narrow_item
from app.measurement_stream.items import Item, StreamFilter, StreamPosition
from app.measurement_stream.stream_cursor import MeasurementCursor
from app.measurement_stream.stream_tail import StreamTail, TailItem, TailPage
from app.measurement_stream.visibility import SiteVisibility
from app.platform.http.contract.pagination import encode_cursor
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import from_datetime
from app.registry.purpose_policy import PurposePolicy, SitePurposePolicies
from app.timeseries.commit_log.commit_writer import build_event_entries, split_by_organisation
from app.timeseries.commit_log.packed_identities import pack_keys, pack_times, unpack_keys, unpack_times
from app.timeseries.storage.event_writer import StoredEvent

OWN, SITE = uuid4(), uuid4()
NOW = datetime(2026, 11, 24, 10, 10, tzinfo=UTC)
# A position that was assigned by a clock ahead of this one.
AHEAD = from_datetime(NOW) + 1_000_000
SAMPLE = Item(7, 3, "sample", OWN, SITE, "box-0001", 0, None, {"pm2_5": 1.0, "laeq": 50.0}, ("laeq",))


@given(st.integers(0, 1200), st.integers(-1, 2**31 - 1), st.integers(0, int(NOW.timestamp())))
def test_a_token_is_read_back_by_its_own_stream_alone(position: int, index: int, at_s: int) -> None:
    cursor = MeasurementCursor(StreamPosition(position, index), at_s)
    assert MeasurementCursor.read(cursor.token(OWN), OWN, last_assigned=1200, now=NOW) == cursor
    with pytest.raises(InvalidError):
        MeasurementCursor.read(cursor.token(OWN), uuid4(), last_assigned=1200, now=NOW)


@pytest.mark.parametrize(
    ("position", "index", "at_s"),
    [
        (AHEAD + 1, 0, 0),
        (-1, 0, 0),
        (7, -2, 0),
        (7, 2**31, 0),
        (7, 0, int(NOW.timestamp()) + 61),
        (7, 0, -1),
        ("7", 0, 0),
        (7, True, 0),
        (7, 0, 1.5),
    ],
)
def test_a_forged_token_is_refused(position: object, index: object, at_s: object) -> None:
    token = encode_cursor("measurements", OWN.hex, position, index, at_s)  # type: ignore[arg-type]
    with pytest.raises(InvalidError) as refused:
        MeasurementCursor.read(token, OWN, last_assigned=AHEAD, now=NOW)
    assert refused.value.code == "invalid_cursor"


def test_a_token_stays_valid_in_a_restored_database() -> None:
    """It is lower than the clock, and higher than what the backup has assigned."""
    now_us = from_datetime(NOW)
    token = encode_cursor("measurements", OWN.hex, now_us, 0, 0)
    assert MeasurementCursor.read(token, OWN, last_assigned=1200, now=NOW).offset.position == now_us
    later = encode_cursor("measurements", OWN.hex, now_us + 1, 0, 0)
    with pytest.raises(InvalidError):
        MeasurementCursor.read(later, OWN, last_assigned=1200, now=NOW)


@given(st.text(max_size=100))
def test_a_text_is_no_token(text: str) -> None:
    with pytest.raises(InvalidError):
        MeasurementCursor.read(text, OWN, last_assigned=1200, now=NOW)


def test_a_token_expires_with_the_log() -> None:
    def is_retained(age: timedelta) -> bool:
        at_s = int((NOW - age).timestamp())
        return MeasurementCursor(StreamPosition(1, 0), at_s).is_retained(NOW, 7)

    assert is_retained(timedelta(days=6, hours=23))
    assert not is_retained(timedelta(days=7, seconds=-30))


@pytest.mark.parametrize(
    ("filter_", "sites", "values"),
    [
        (StreamFilter(), None, {"pm2_5": 1.0, "laeq": 50.0}),
        (StreamFilter(), {SITE}, {"pm2_5": 1.0, "laeq": 50.0}),
        (StreamFilter(), set(), None),
        (StreamFilter(sites=frozenset({uuid4()})), None, None),
        (StreamFilter(boxes=frozenset({"box-0001"})), None, {"pm2_5": 1.0, "laeq": 50.0}),
        (StreamFilter(boxes=frozenset({"other"})), None, None),
        (StreamFilter(kinds=frozenset({"event"})), None, None),
        (StreamFilter(metrics=("laeq",)), None, {"laeq": 50.0}),
        (StreamFilter(metrics=("pm10",)), None, None),
    ],
)
def test_a_filter_leaves_what_passes(
    filter_: StreamFilter, sites: set[UUID] | None, values: dict[str, float] | None
) -> None:
    found = narrow_item(SAMPLE, filter_, sites)
    assert (None if found is None else found.values) == values
    if found is not None:
        assert found.id == SAMPLE.id
        assert set(found.late) <= set(found.values)


def test_hours_corrections_and_events_are_filtered_by_metric() -> None:
    laeq = StreamFilter(metrics=("laeq",))
    detail = {"version": 7, "metrics": {"pm2_5": {"count": 1}, "laeq": {"count": 2}}}
    hour = narrow_item(replace(SAMPLE, kind="hour", detail=detail), laeq, None)
    assert hour is not None
    assert hour.detail == {"version": 7, "metrics": {"laeq": {"count": 2}}}
    correction = replace(SAMPLE, kind="correction", values={}, detail={"metric": "pm2_5"})
    assert narrow_item(correction, laeq, None) is None
    assert narrow_item(correction, StreamFilter(metrics=("pm2_5",)), None) == correction
    event = replace(SAMPLE, kind="event", values={}, detail={"type": "gunshot"})
    assert narrow_item(event, laeq, None) is None
    assert narrow_item(event, StreamFilter(), None) == event


def _page(first: int, last: int, now: float) -> TailPage:
    items = [TailItem(replace(SAMPLE, position=position, index=0)) for position in range(first, last + 1)]
    return TailPage(items, StreamPosition(last, 0), full=False, read_at=now, next_us=0)


def _positions(page: TailPage | None) -> list[int] | None:
    return None if page is None else [each.item.position for each in page.items]


def test_the_newest_items_are_held_for_two_seconds() -> None:
    now = 100.0
    tail = StreamTail(StreamPosition(10, 0), lambda: now)
    assert _positions(tail.read_after(StreamPosition(10, 0))) == []
    assert tail.read_after(StreamPosition(9, 0)) is None
    tail.add(_page(11, 13, now))
    tail.add(_page(14, 15, now + 1))
    first = tail.read_after(StreamPosition(10, 0))
    assert _positions(first) == [11, 12, 13]
    assert first is not None
    assert (first.full, first.next) == (True, StreamPosition(13, 0))
    assert _positions(tail.read_after(StreamPosition(12, 0))) == [13]
    last = tail.read_after(StreamPosition(13, 0))
    assert _positions(last) == [14, 15]
    assert last is not None
    assert not last.full
    assert _positions(tail.read_after(StreamPosition(15, 0))) == []
    assert _positions(tail.read_after(StreamPosition(99, 0))) == []
    now = 102.5
    assert tail.read_after(StreamPosition(10, 0)) is None
    assert _positions(tail.read_after(StreamPosition(13, 0))) == [14, 15]
    assert tail.end == StreamPosition(15, 0)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.data())
def test_a_reader_of_the_window_misses_nothing_and_gets_nothing_twice(
    sizes: list[int], data: st.DataObject
) -> None:
    tail, position = StreamTail(StreamPosition(0, 0), lambda: 0.0), 0
    for size in sizes:
        tail.add(_page(position + 1, position + size, 0.0))
        position += size
    begin = data.draw(st.integers(0, position))
    offset, got = StreamPosition(begin, 0), []
    while True:
        page = tail.read_after(offset)
        assert page is not None
        got += [each.item.position for each in page.items]
        offset = page.next
        if not page.full:
            break
    assert got == list(range(begin + 1, position + 1))


def test_only_purposes_in_force_show_anything() -> None:
    now_us = 1_000
    policies = SitePurposePolicies(
        {
            "air_quality": PurposePolicy(),
            "noise": PurposePolicy(ends_us=now_us),
            "equipment": PurposePolicy(starts_us=now_us + 1),
            "odour": PurposePolicy(starts_us=now_us),
            "acoustic_safety": PurposePolicy(approved=False),
            "video_analytics": PurposePolicy(approved=True),
        }
    )
    shown = SiteVisibility(policies, now_us)
    assert {"laeq", "battery", "temperature"} <= shown.hidden_metrics
    assert not {"pm2_5", "odour"} & shown.hidden_metrics
    assert not shown.shows_event("gunshot")
    assert not shown.shows_event("a type of before")
    assert shown.shows_event("smoke")
    assert not shown.shows_event("noise_peak")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_a_batch_is_split_by_organisation_box_by_box(boxes: list[int]) -> None:
    owners = {box: UUID(int=box % 3) for box in range(5)}
    keys = np.array(boxes)
    order = np.argsort(keys, kind="stable")
    each, counts = np.unique(keys, return_counts=True)
    split = dict(split_by_organisation([owners[box] for box in each.tolist()], counts, order))
    arrivals = np.arange(len(boxes))
    for owner, chosen in split.items():
        expected = [place for place in order.tolist() if owners[boxes[place]] == owner]
        assert arrivals[chosen].tolist() == expected
    assert set(split) == {owners[box] for box in boxes}


@given(st.lists(st.tuples(st.integers(1, 2**31 - 1), st.integers(-(2**53), 2**53)), min_size=1, max_size=50))
def test_identities_are_unpacked_as_they_were(pairs: list[tuple[int, int]]) -> None:
    keys, times_us = (np.array(values) for values in zip(*pairs, strict=True))
    for ordered in (keys, np.sort(keys)):
        assert unpack_keys(pack_keys(ordered.astype(np.int32))).tolist() == ordered.tolist()
    for unit in (1, 1_000, 1_000_000):
        rounded = times_us // unit * unit
        assert unpack_times(pack_times(rounded)).tolist() == rounded.tolist()


def test_a_live_commit_takes_three_bytes_a_sample() -> None:
    keys = np.arange(1, 701, dtype=np.int32)
    times_us = 1_795_000_000_000_000 + np.arange(700, dtype=np.int64) % 60_000 * 1_000
    assert len(pack_keys(keys)) + len(pack_times(times_us)) < 3.1 * 700


def test_events_are_listed_for_their_organisation_if_they_were_stored() -> None:
    ids = [uuid4(), uuid4(), uuid4()]
    stored = [StoredEvent(place, False, ids[number]) for number, place in enumerate((0, 2, 3))]
    entries = list(build_event_entries([OWN, OWN, SITE, OWN], [1, 2, 3, 4], [10, 20, 30, 40], stored))
    assert [(entry.organisation_id, entry.keys.tolist(), entry.times_us.tolist()) for entry in entries] == [
        (OWN, [1, 4], [10, 40]),
        (SITE, [3], [30]),
    ]
    assert [entry.event_ids for entry in entries] == [[ids[0], ids[2]], [ids[1]]]
