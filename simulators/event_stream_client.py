"""A client of the event stream: follows it, goes on by itself after a break, prints one line for each event.

Shows how a client does it: read blocks, remember the id of the last whole one, connect again with it as
`Last-Event-ID`. Must not use the server's code: it is there to check it.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import aiohttp

from simulators.message_summary import summarise_message
from simulators.registration import find_entry
from simulators.rest_client import ApiClient, ApiError, UnreachableError
from simulators.target_stack import TargetError

STREAM_PATH: Final = "/v1/events/stream"
RESET_EVENT: Final = "stream.reset"

# Something comes each 15 seconds: after three such times the connection is dead.
_SILENCE_S: Final = 45.0
_ID_SHOWN: Final = 16
_LONGEST_WAIT_S: Final = 30.0
_LONGEST_LINE: Final = 1_048_576
_REFUSED: Final = 400
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500
_KEEP_ALIVE: Final = ": keep-alive "


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """What to listen to; None and empty mean everything.

    Attributes:
        after: The id to go on from; None: from now on.
        types: Of events.
        site: The id of the only site.
        min_severity: Of alerts.
        organisation: A name or an id, where the key is an administrator's.
        count: How many events; None: without end.
    """

    after: str | None = None
    types: tuple[str, ...] = ()
    site: str | None = None
    min_severity: str | None = None
    organisation: str | None = None
    count: int | None = None


@dataclass(slots=True)
class StreamEvent:
    """One event of the stream; `data` is what a webhook's body would be."""

    id: str
    type: str
    data: dict[str, Any]


class EventStream:
    """A stream that outlives its connections.

    Attributes:
        last_id: Of the last event or comment that came whole: where to go on.
    """

    def __init__(
        self,
        address: str,
        key: str,
        params: dict[str, str],
        *,
        after: str | None = None,
        print_line: Callable[[str], None] = print,
    ) -> None:
        self.last_id = after
        self._url = address + STREAM_PATH
        self._key = key
        self._params = params
        self._print_line = print_line
        self._wait_s = 3.0

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """Yield events, without end.

        Raises:
            ApiError: The API refuses: trying again would not help.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=_LONGEST_LINE) as session:
            failures = 0
            while True:
                try:
                    async with aclosing(self._connected(session)) as connected:
                        async for event in connected:
                            failures = 0
                            yield event
                    self._print_line("the stream ended")
                except (aiohttp.ClientError, TimeoutError, OSError, UnreachableError) as error:
                    self._print_line(f"the stream broke off: {str(error) or type(error).__name__}")
                # Spread: the server's other clients come back now, too.
                await asyncio.sleep(min(self._wait_s * 2**failures, _LONGEST_WAIT_S) * random.uniform(0.5, 1))
                failures += 1

    async def _connected(self, session: aiohttp.ClientSession) -> AsyncGenerator[StreamEvent]:
        headers = {"Authorization": f"Bearer {self._key}"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        async with session.get(self._url, headers=headers, params=self._params) as answer:
            await _check(answer)
            self.last_id = answer.headers.get("Last-Event-ID", self.last_id)
            block: dict[str, str] = {}
            async for line in answer.content:
                text = line.decode().rstrip("\r\n")
                if text.startswith(_KEEP_ALIVE):
                    # It stands between blocks, and says how far the stream is.
                    self.last_id = text.removeprefix(_KEEP_ALIVE)
                    continue
                if text:
                    name, _, value = text.partition(":")
                    block[name] = value.removeprefix(" ")
                    continue
                event = self._take(block)
                block = {}
                if event is not None:
                    yield event

    def _take(self, block: dict[str, str]) -> StreamEvent | None:
        """Read a block that came whole; one without data only says where the stream is, or that it lives."""
        if "retry" in block:
            # Sent before the first block, without an empty line of its own.
            self._wait_s = int(block["retry"]) / 1000
        self.last_id = block.get("id", self.last_id)
        if "data" not in block:
            return None
        return StreamEvent(self.last_id or "", block.get("event", "message"), json.loads(block["data"]))


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= _SERVER_ERRORS or answer.status == _TOO_MANY:
        raise UnreachableError(f"the API answers {answer.status}")
    if answer.status >= _REFUSED:
        problem = await answer.json(content_type=None)
        raise ApiError(answer.status, str(problem.get("code", "?")), str(problem.get("detail", "")))


async def follow_stream(
    address: str, key: str, wish: StreamFilter, print_line: Callable[[str], None] = print
) -> int:
    """Print what happens, until there were enough events or the caller cancels it.

    Args:
        address: Of the API, without a slash at its end.
        key: An API key.
        wish: What to listen to.
        print_line: Called with each line.

    Raises:
        ApiError: The API refuses the key, the id or a filter.
        TargetError: There is no organisation of the name given.
    """
    stream = EventStream(
        address, key, await _params(address, key, wish), after=wish.after, print_line=print_line
    )
    print_line(f"listening to {address}{STREAM_PATH}")
    left = wish.count
    try:
        async with aclosing(stream.events()) as events:
            async for event in events:
                if event.type == RESET_EVENT:
                    print_line(f"events were MISSED: {summarise_message(event.data)}")
                    continue
                # The stream repeats nothing. A program that must not do a thing twice keeps this id all the
                # same: it may be stopped between what it does and the place in the stream that it notes.
                print_line(f"{event.data['id'][-_ID_SHOWN:]} {summarise_message(event.data)}")
                left = None if left is None else left - 1
                if left == 0:
                    break
    finally:
        if stream.last_id is not None:
            print_line(f"to go on from here: --after {stream.last_id}")
    return 0


async def _params(address: str, key: str, wish: StreamFilter) -> dict[str, str]:
    params = {"types": ",".join(wish.types), "site": wish.site, "min_severity": wish.min_severity}
    if wish.organisation is not None:
        params["organisation"] = await _organisation(address, key, wish.organisation)
    return {name: value for name, value in params.items() if value}


async def _organisation(address: str, key: str, named: str) -> str:
    try:
        return str(UUID(named))
    except ValueError:
        pass
    async with ApiClient(address, key) as api:
        found = await find_entry(api, "/v1/organisations", "name", named)
    if found is None:
        raise TargetError(f"there is no organisation {named!r} that this key sees")
    return str(found["id"])
