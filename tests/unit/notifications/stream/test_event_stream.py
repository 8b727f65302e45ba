"""The parts of a stream that need no connection: ids, filters, blocks, and how the API describes it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.stream.event_stream import StreamCursor, StreamFilter, format_event_block
from app.notifications.stream.stream_queries import StreamedEvent, StreamHead
from app.platform.http.contract.pagination import encode_cursor
from app.platform.kernel.errors import InvalidError
from tests.openapi import openapi_document

OWN, SITE = uuid4(), uuid4()
NOW = datetime(2026, 11, 24, 10, 10, tzinfo=UTC)
NEWEST = StreamHead(NOW, 1000, 1200)


def streamed(type_: str = "alert.firing", site: UUID | None = SITE, **data: Any) -> StreamedEvent:  # noqa: ANN401
    payload = json.dumps({"alert_id": str(uuid4()), **data})
    return StreamedEvent(7, uuid4(), site, type_, payload, NOW, NOW)


@given(
    st.integers(0, 1200),
    st.datetimes(datetime(1971, 1, 1), datetime(2026, 11, 24, 10, 11), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_an_id_is_read_back_by_its_own_stream_alone(position: int, at: datetime) -> None:
    token = StreamCursor(position, at).token(OWN)
    assert "\n" not in token
    back = StreamCursor.read(token, OWN, NEWEST)
    assert back == StreamCursor(position, at.replace(microsecond=0))
    with pytest.raises(InvalidError):
        StreamCursor.read(token, uuid4(), NEWEST)


@given(st.text(max_size=120))
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        StreamCursor.read(text, OWN, NEWEST)
    assert (refused.value.status, refused.value.code) == (422, "invalid_cursor")


@pytest.mark.parametrize(
    ("position", "at"),
    [
        (7.9, NOW.timestamp() // 1),
        ("7", int(NOW.timestamp())),
        (True, int(NOW.timestamp())),
        (7, NOW.timestamp()),
        (-1, int(NOW.timestamp())),
        (1201, int(NOW.timestamp())),
        (7, int(NOW.timestamp()) + 61),
        (7, 2**62),
        (7, 10**400),
    ],
)
def test_a_forged_id_is_refused(position: float | str, at: float) -> None:
    token = encode_cursor("events", OWN.hex, position, at)
    with pytest.raises(InvalidError) as refused:
        StreamCursor.read(token, OWN, NEWEST)
    assert refused.value.code == "invalid_cursor"


def test_how_old_an_id_may_be() -> None:
    ages = {
        timedelta(days=6, hours=23): True,
        timedelta(days=7): False,
        timedelta(days=6, seconds=86_390): False,
    }
    assert {age: StreamCursor(1, NOW - age).is_retained(NEWEST, 7) for age in ages} == ages


@pytest.mark.parametrize(
    ("wanted", "event", "passes"),
    [
        (StreamFilter(), streamed(), True),
        (StreamFilter(types=frozenset({"alert.firing"})), streamed(), True),
        (StreamFilter(types=frozenset({"alert.resolved"})), streamed(), False),
        (StreamFilter(site=SITE), streamed(), True),
        (StreamFilter(site=SITE), streamed(site=uuid4()), False),
        (StreamFilter(site=SITE), streamed("webhook.test", None), False),
        (StreamFilter(min_severity="warning"), streamed(severity="info"), False),
        (StreamFilter(min_severity="warning"), streamed(severity="critical"), True),
        (StreamFilter(min_severity="warning"), streamed(severity="info", highest_severity="critical"), True),
        (StreamFilter(min_severity="critical"), streamed(severity="new one"), True),
        (StreamFilter(min_severity="critical"), streamed("endpoint.failing", None), True),
    ],
)
def test_what_passes(
    wanted: StreamFilter,
    event: StreamedEvent,
    passes: bool,  # noqa: FBT001 (a parameter)
) -> None:
    assert wanted.passes(event) is passes


def test_a_block_is_one_line_of_data_however_odd_the_text() -> None:
    event = streamed(text="a\r\nb\u2028c\x85", box="box-0001")
    block = format_event_block(event, OWN).decode()
    assert block.endswith("\n\n")
    assert "\r" not in block
    names = [line.partition(": ")[0] for line in block.rstrip("\n").split("\n")]
    assert sorted(names) == ["data", "event", "id"]
    (data,) = [line.removeprefix("data: ") for line in block.split("\n") if line.startswith("data: ")]
    assert data.startswith(f'{{"id":"msg_{event.id.hex}","type":"alert.firing",')
    assert json.loads(data)["data"]["text"] == "a\r\nb\u2028c\x85"


def test_the_api_describes_it_with_an_example() -> None:
    operation = openapi_document()["paths"]["/v1/events/stream"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    example = operation["responses"]["200"]["content"]["text/event-stream"]["example"]
    (data,) = [line.removeprefix("data: ") for line in example.split("\n") if line.startswith("data: ")]
    assert json.loads(data)["type"] == "alert.firing"
    assert {"401", "403", "404", "422", "429", "503"} <= set(operation["responses"])
    names = {parameter["name"].lower() for parameter in operation["parameters"]}
    assert names == {"types", "site", "min_severity", "organisation", "after", "last-event-id"}
