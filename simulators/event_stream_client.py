"""Follows the event stream, resumes after a lost connection, and prints one line per event.

An example of a client: it reads blocks, stores the id of the last complete one, and reconnects with it as
`Last-Event-ID`. It checks the server, so it uses none of its code.
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

# The server sends a keep-alive every 15 s: after three missed ones the connection is dead.
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
    """Filters of the stream; None and empty match everything.

    Attributes:
        after: The id of the event to resume after; None for new events only.
        types: Types of events.
        site: The id of one site.
        min_severity: The lowest severity of alerts.
        organisation: A name or an id, for an administrator's key.
        count: Number of events; None until cancelled.
    """

    after: str | None = None
    types: tuple[str, ...] = ()
    site: str | None = None
    min_severity: str | None = None
    organisation: str | None = None
    count: int | None = None


@dataclass(slots=True)
class StreamEvent:
    """One event of the stream; `data` is the body that a webhook gets."""

    id: str
    type: str
    data: dict[str, Any]


class EventStream:
    """A stream that reconnects and resumes.

    Attributes:
        last_id: The id to resume after: of the last complete event or comment.
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
        """Yield events until cancelled.

        Raises:
            ApiError: The API refused; a retry would not help.
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
                # Jitter, since the server's other clients reconnect at the same time.
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
                    # A comment between blocks, with the stream's position.
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
        """Process a complete block; one without data only has the position, or a retry interval."""
        if "retry" in block:
            # The server sends it before the first block, without an empty line in between.
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
    address: str, key: str, filters: StreamFilter, print_line: Callable[[str], None] = print
) -> int:
    """Print events until their count is reached or the caller cancels.

    Args:
        address: The API's address, without a trailing slash.
        key: An API key.
        filters: Filters of the stream.
        print_line: Called with each line.

    Raises:
        ApiError: The API refused the key, the id or a filter.
        TargetError: The key sees no organisation of that name.
    """
    stream = EventStream(
        address, key, await _params(address, key, filters), after=filters.after, print_line=print_line
    )
    print_line(f"listening to {address}{STREAM_PATH}")
    left = filters.count
    try:
        async with aclosing(stream.events()) as events:
            async for event in events:
                if event.type == RESET_EVENT:
                    print_line(f"events were MISSED: {summarise_message(event.data)}")
                    continue
                # The stream repeats no event. A program whose actions must not be repeated still stores this
                # id: it can crash after the action, and before it stores its position.
                print_line(f"{event.data['id'][-_ID_SHOWN:]} {summarise_message(event.data)}")
                left = None if left is None else left - 1
                if left == 0:
                    break
    finally:
        if stream.last_id is not None:
            print_line(f"to resume from here: --after {stream.last_id}")
    return 0


async def _params(address: str, key: str, filters: StreamFilter) -> dict[str, str]:
    params = {"types": ",".join(filters.types), "site": filters.site, "min_severity": filters.min_severity}
    if filters.organisation is not None:
        params["organisation"] = await _organisation(address, key, filters.organisation)
    return {name: value for name, value in params.items() if value}


async def _organisation(address: str, key: str, named: str) -> str:
    try:
        return str(UUID(named))
    except ValueError:
        pass
    async with ApiClient(address, key) as api:
        found = await find_entry(api, "/v1/organisations", "name", named)
    if found is None:
        raise TargetError(f"this key sees no organisation {named!r}: give another name, or its id")
    return str(found["id"])
