"""Tails of streams whose answers are written down: resets, keep-alives and breaks."""

import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.client.api_connection import ApiConnection
from app.client.client_errors import UsageError
from app.client.event_following import ALERTS_PATH, StreamFollower
from app.client.profiles import Profile
from app.client.tail_command import TailRequest, run_tail
from app.measurement_stream.item_stream import format_reset_event
from app.measurement_stream.items import StreamPosition
from app.measurement_stream.stream_cursor import MeasurementCursor
from tests.unit.client.scripted_server import Answer, ScriptedServer, answering

EVENT = b'event: alert.firing\ndata: {"type":"alert.firing","data":{"box":"b-1"}}\nid: %s\n\n'


class Ended(Exception):  # noqa: N818 (not an error)
    """Ends a tail that would go on for ever."""


def stream(body: bytes, **headers: str) -> Answer:
    return 200, {"content-type": "text/event-stream", **headers}, body


def end_after(times: int) -> Callable[[float], None]:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) >= times:
            raise Ended

    return wait


def tail(server: ScriptedServer, *, breaks: int = 1, **changes: Any) -> tuple[str, str]:  # noqa: ANN401 (fields of the request)
    """Tail until the connection broke off so often; gives what was printed and reported."""
    request = TailRequest("alerts", (), after=None, offset_file=None, count=None, output="text")
    printed, reported = io.StringIO(), io.StringIO()
    with ApiConnection(Profile(server.url, "vg_a")) as api, pytest.raises(Ended):
        run_tail(
            api,
            replace(request, **changes),
            printed,
            lambda line: print(line, file=reported),
            sleep=end_after(breaks),
        )
    return printed.getvalue(), reported.getvalue()


def test_a_reset_of_measurements_is_reported_and_passed(tmp_path: Path) -> None:
    file, organisation = tmp_path / "offset", uuid4()
    reset = format_reset_event(None, MeasurementCursor(StreamPosition(7, 0), 1), organisation)
    with answering([stream(reset)]) as server:
        for run in range(2):
            printed, reported = tail(server, stream="measurements", offset_file=file)
            assert ("stream.reset" in printed, "events were missed. You have missed items" in reported) == (
                True,
                True,
            ), run
        # The second run resumed after it.
        assert server.requests[1][1]["Last-Event-ID"] == file.read_text().strip() != ""


def test_a_stream_without_events_advances(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    quiet = b"retry: 1\n: keep-alive second\n: keep-alive third\n"
    with answering([stream(b"retry: 1\n", **{"last-event-id": "first"}), stream(quiet)]) as server:
        tail(server, offset_file=file)
        assert file.read_text() == "first\n"
        tail(server, offset_file=file)
        assert file.read_text() == "third\n"
        tail(server, breaks=2, offset_file=file)
    assert [headers.get("Last-Event-ID") for _, headers in server.requests] == [
        *(None, "first", "third", "third")
    ]


def test_an_offset_is_stored_once_its_event_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    # Separators of lines in texts are parts of them.
    text = json.dumps({"type": "x", "data": {"note": "a\u2028b\x85c"}}, ensure_ascii=False).encode()
    body = EVENT % b"one" + b": keep-alive two\n" + b"event: x\ndata: " + text + b"\nid: three\n\nevent: cut"
    with answering([stream(body)]) as server:
        printed, _ = tail(server, offset_file=file, output="json")
    assert [json.loads(line)["type"] for line in printed.split("\n")[:-1]] == ["alert.firing", "x"]
    assert file.read_text() == "three\n"


def test_any_number_of_breaks_is_survived() -> None:
    waits = end_after(1_100)
    # Nothing listens there.
    with ApiConnection(Profile("http://127.0.0.1:1", "vg_a")) as api:
        follower = StreamFollower(api, ALERTS_PATH, (), after=None, report=str, sleep=waits)
        with pytest.raises(Ended):
            list(follower.events())


def test_an_accepted_connection_ends_the_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 4:
            raise Ended

    away: Answer = (503, {"content-type": "application/problem+json"}, b'{"code":"database_away"}')
    answers = [away, away, stream(b"retry: 2000\n\n"), away]
    with answering(answers) as server, ApiConnection(Profile(server.url, "vg_a")) as api:
        follower = StreamFollower(api, ALERTS_PATH, (), after=None, report=str, sleep=wait)
        with pytest.raises(Ended):
            list(follower.events())
    assert waited == [3, 6, 2, 4]


@pytest.mark.parametrize("content", [b"a\nb", "é".encode(), b"\xff"])
def test_what_cannot_be_an_offset_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "offset"
    file.write_bytes(content)
    request = TailRequest("alerts", (), after=None, offset_file=file, count=None, output="text")
    with (
        ApiConnection(Profile("http://127.0.0.1:1", "vg_a")) as api,
        pytest.raises(UsageError, match="offset"),
    ):
        run_tail(api, request, io.StringIO(), str)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    request = TailRequest(
        "alerts", (), after=None, offset_file=tmp_path / "none" / "offset", count=None, output="text"
    )
    with (
        answering([stream(b"", **{"last-event-id": "first"})]) as server,
        ApiConnection(Profile(server.url, "vg_a")) as api,
        pytest.raises(UsageError, match="cannot be stored in"),
    ):
        run_tail(api, request, io.StringIO(), str)
