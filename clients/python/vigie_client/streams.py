"""Follows streams of Server-Sent Events, and resumes after a break."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import EventSource

from .client import AuthenticatedClient

_SILENCE = httpx.Timeout(45, connect=10)  # a keep-alive comes every 15 s
_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class StreamEvent:
    """An event of a stream.

    Attributes:
        offset: Pass it as `after` to resume after this event.
        type: The type, such as `alert.firing`; `stream.reset` if events were missed.
        data: The body, as a webhook gets it.
    """

    offset: str
    type: str
    data: dict[str, Any]


class StreamRefusedError(Exception):
    """The API refused the stream; a retry would not help."""


@contextmanager
def follow_events(
    client: AuthenticatedClient, *, path: str = "/v1/events/stream", after: str | None = None, **filters: Any
) -> Iterator[Iterator[StreamEvent]]:
    """Connect, then yield an iterator of events that never ends.

    The position is that of the first connection: an event after that is not missed.

    Args:
        client: The client, whose connections and settings are used, except for the timeout.
        path: The stream.
        after: The offset to resume after; None: only new events.
        filters: Query parameters, such as `types=["alert.firing"]`.

    Raises:
        StreamRefusedError: The API refused the key, the offset or a filter.
        httpx.TransportError: The first connection failed.
    """
    follower = _Follower(client, path, after, filters)
    try:
        follower.connect()
        yield follower.events()
    finally:
        follower.close()


class _Follower:
    def __init__(
        self, client: AuthenticatedClient, path: str, after: str | None, filters: dict[str, Any]
    ) -> None:
        self._http = client.get_httpx_client()
        self._path = path
        self._filters = filters
        self._offset = after
        self._wait_s = 3.0
        self._answer: httpx.Response | None = None

    def connect(self) -> None:
        headers = {} if self._offset is None else {"Last-Event-ID": self._offset}
        request = self._http.build_request(
            "GET", self._path, params=self._filters, headers=headers, timeout=_SILENCE
        )
        answer = self._http.send(request, stream=True)
        if 400 <= answer.status_code < 500 and answer.status_code != 429:
            answer.read()
            answer.close()
            raise StreamRefusedError(answer.text)
        if answer.status_code != 200:
            answer.close()
            raise httpx.RemoteProtocolError(f"The API answered {answer.status_code}.")
        self._offset = answer.headers.get("last-event-id", self._offset)
        self._answer = answer

    def events(self) -> Iterator[StreamEvent]:
        failures = 0
        while True:
            try:
                if self._answer is None:
                    self.connect()
                for event in EventSource(self._answer).iter_sse():  # type: ignore[arg-type]
                    failures = 0
                    if event.retry is not None:
                        self._wait_s = event.retry / 1000
                    if event.data:
                        yield StreamEvent(event.id, event.event, json.loads(event.data))
                    self._offset = event.id or self._offset
            except httpx.TransportError:
                pass
            self.close()
            # Jitter, since other clients reconnect at the same time.
            time.sleep(min(self._wait_s * 2**failures, _LONGEST_WAIT_S) * random.uniform(0.5, 1))
            failures += 1

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._answer = None
