"""Follows a stream of Server-Sent Events, and resumes after a break."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx

from app.client.api_connection import ApiConnection, Parameters
from app.client.client_errors import UnreachableError

ALERTS_PATH: Final = "/v1/events/stream"
MEASUREMENTS_PATH: Final = "/v1/measurements/stream"
RESET_EVENT: Final = "stream.reset"
# The server sends a keep-alive every 15 s: after three missed ones the connection is dead.
_SILENCE_S: Final = 45.0
_FIRST_WAIT_S: Final = 3.0
_LONGEST_WAIT_S: Final = 30.0
_MOST_DOUBLINGS: Final = 10
_KEEP_ALIVE: Final = ": keep-alive "


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event of a stream.

    Attributes:
        offset: The id to resume after.
        type: The type of the event.
        data: Its body.
    """

    offset: str
    type: str
    data: dict[str, Any]


class StreamFollower:
    """Follows one stream, over breaks of the connection.

    Args:
        api: The connection.
        path: The stream.
        parameters: Its filters.
        after: The offset to resume after; None: begin now.
        report: Prints a line on a break.
        store: Stores each offset, after the events before it were handled.
        sleep: Waits before a new connection.
    """

    def __init__(
        self,
        api: ApiConnection,
        path: str,
        parameters: Parameters,
        *,
        after: str | None,
        report: Callable[[str], object],
        store: Callable[[str], object] = lambda _: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._api = api
        self._path = path
        self._parameters = parameters
        self._report = report
        self._store = store
        self._sleep = sleep
        self._wait_s = _FIRST_WAIT_S
        self._failures = 0
        self.offset = after

    def events(self) -> Iterator[StreamEvent]:
        """Yield events for ever.

        Raises:
            ApiError: The API refused; a retry would not help.
        """
        while True:
            try:
                yield from self._read_connection()
                self._report("The stream ended.")
            except UnreachableError as error:
                self._report(f"The stream broke off: {error}")
            # Jitter, since other clients of the server reconnect at the same time.
            longest = min(self._wait_s * 2**self._failures, _LONGEST_WAIT_S)
            self._sleep(longest * random.uniform(0.5, 1))  # noqa: S311
            self._failures = min(self._failures + 1, _MOST_DOUBLINGS)

    def advance(self, offset: str | None) -> None:
        """Set the offset to resume after, and store it. The caller has handled the events before it."""
        if offset and offset != self.offset:
            self.offset = offset
            self._store(offset)

    def _read_connection(self) -> Iterator[StreamEvent]:
        headers = {"Accept": "text/event-stream"}
        if self.offset is not None:
            headers["Last-Event-ID"] = self.offset
        with self._api.stream(self._path, self._parameters, headers=headers, silence_s=_SILENCE_S) as answer:
            self._failures = 0
            self.advance(answer.headers.get("last-event-id"))
            for block in _read_blocks(answer):
                if retry := block.get("retry"):
                    self._wait_s = int(retry) / 1000
                if data := block.get("data"):
                    yield StreamEvent(block.get("id", ""), block.get("event", ""), json.loads(data))
                # After the caller has handled the event, so that none is lost.
                self.advance(block.get("id"))


def _read_blocks(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Yield the fields of each block of a stream.

    A keep-alive comment, which libraries for Server-Sent Events leave out, is a block with its offset.
    """
    block: dict[str, str] = {}
    rest = b""
    # Lines end with LF only: other separators of lines are parts of texts.
    for chunk in answer.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in map(bytes.decode, lines):
            if line.startswith(_KEEP_ALIVE):
                yield {"id": line.removeprefix(_KEEP_ALIVE)}
            elif line:
                name, _, value = line.partition(":")
                block[name] = value.removeprefix(" ")
            elif block:
                yield block
                block = {}
