"""Reads a stream of JetStream by direct gets: any replica returns the record of a sequence number.

The servers store no state of a reader, so that nothing must be recreated after a node fails. The stream
publishes the sequence number of each stored record, which ends the wait of a reader; a lost notice costs one
poll.
"""

import asyncio
import json
import time
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from app.message_log.buffered_reader import BufferedReader
from app.message_log.message_log import LogUnavailableError

_POLL_S: Final = 0.5
# A replica may lag behind the notice of its leader.
_LAG_S: Final = 0.02
# The leader says whether records were removed, or the stream was recreated.
_CHECK_S: Final = 5.0
_GET_S: Final = 1.0
_MOST_GETS: Final = 8


class JetStreamReader(BufferedReader):
    """Reads one stream in order (`PartitionReader`).

    Args:
        connection: The connection, which reconnects by itself.
        streams: The same, for questions to the leader.
        stream: The name of the stream.
        after: The sequence number after which it begins.
    """

    def __init__(self, connection: Client, streams: JetStreamContext, stream: str, after: int) -> None:
        super().__init__(after)
        self._connection = connection
        self._streams = streams
        self._stream = stream
        self._newest = 0
        self._notices: Subscription | None = None
        self._noticed = asyncio.Event()
        self._gets = 1
        self._checked = -_CHECK_S

    async def _receive(self, max_bytes: int) -> LogUnavailableError | None:
        """Get the next records; returns the error of a log that does not answer."""
        self._noticed.clear()
        try:
            await self._subscribe()
            await self._get_next(max_bytes)
        except (OSError, TimeoutError, nats.errors.Error, LogUnavailableError) as error:
            # A closed connection stays closed.
            self._is_closed = self._connection.is_closed
            failure = LogUnavailableError(f"the log does not answer: {error!r}")
            failure.__cause__ = error
            return failure
        return None

    def _find_pause_s(self) -> float:
        return _LAG_S if self._newest > self._position else _POLL_S

    async def _stop(self) -> None:
        notices, self._notices = self._notices, None
        if notices is not None and not self._connection.is_closed:
            await notices.unsubscribe()

    async def _subscribe(self) -> None:
        if self._notices is None:
            self._notices = await self._connection.subscribe(f"{self._stream}.stored", cb=self._notice)

    async def _notice(self, message: Msg) -> None:
        self._newest = max(self._newest, int((message.headers or {}).get("Nats-Sequence", 0)))
        self._noticed.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._noticed.wait()
        except TimeoutError:
            return

    async def _get_next(self, max_bytes: int) -> None:
        """Get the records after the position, several at once while there are many."""
        numbers = range(self._position + 1, self._position + 1 + self._gets)
        results = await asyncio.gather(*(self._get(number) for number in numbers), return_exceptions=True)
        size = 0
        for number, result in zip(numbers, results, strict=True):
            if isinstance(result, BaseException):
                if self._ready:
                    break
                raise result
            if result is None:
                break
            self._add(number, result)
            size += len(result)
        found = len(self._ready)
        if found == len(numbers):
            affordable = max(1, max_bytes * found // max(1, size))
            self._gets = min(2 * self._gets, _MOST_GETS, affordable)
        else:
            self._gets = 1
        if not found and time.monotonic() - self._checked >= _CHECK_S:
            await self._ask_leader()

    async def _get(self, number: int) -> bytes | None:
        """Return the record of a sequence number; None if this replica does not have it."""
        question = json.dumps({"seq": number}).encode()
        subject = f"$JS.API.DIRECT.GET.{self._stream}"
        message = await self._connection.request(subject, question, timeout=_GET_S)
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None
        if status is not None or int(headers.get("Nats-Sequence", 0)) != number:
            raise LogUnavailableError(f"{self._stream}: record {number} was answered by {dict(headers)}")
        return message.data

    async def _ask_leader(self) -> None:
        """Learn from the leader whether there is a next record, or whether it was removed."""
        async with asyncio.timeout(_GET_S):
            state = (await self._streams.stream_info(self._stream)).state
        if state.last_seq < self._position:
            raise LogUnavailableError(
                f"{self._stream} ends at {state.last_seq}, before {self._position}: it was recreated"
            )
        self._checked = time.monotonic()
        self._newest = max(self._newest, state.last_seq)
        self._note_oldest(state.first_seq)
