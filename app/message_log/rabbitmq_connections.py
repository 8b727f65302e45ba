"""Connects to nodes of RabbitMQ by the stream protocol, and finds the nodes of a stream.

The client library's own producer and consumer reconnect slowly. Here a lost connection fails all requests at
once, and the caller makes a new one.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from rstream.client import Client
from rstream.connection import Connection
from rstream.exceptions import ServerError
from rstream.schema import Metadata, MetadataResponse, MetadataUpdate

from app.message_log.message_log import LogUnavailableError
from app.message_log.settings import MessageLogSettings

FRAME_BYTES: Final = 8 * 2**20
"""The largest frame that the client proposes; the nodes' `stream.frame_max` may be smaller."""

_HEARTBEAT_S: Final = 5
_CONNECT_S: Final = 2.0
_READ_BYTES: Final = 2**16
_ERRORS: Final = (OSError, TimeoutError, EOFError, AssertionError, ValueError, KeyError, ServerError)
"""What the client raises on a connection that ends or is refused."""


class StreamNodes(NamedTuple):
    """The nodes of a stream that answer, as `host:port`.

    Attributes:
        leader: Its leader.
        replicas: The other replicas.
    """

    leader: str
    replicas: tuple[str, ...]


class _FastConnection(Connection):
    """Reads more at a time than the client library does: records have hundreds of kilobytes."""

    async def _read(self, n: int) -> bytearray:
        if self._reader is None:
            raise ConnectionError("not connected")
        while len(self._buffer) < n:
            chunk = await self._reader.read(_READ_BYTES)
            if not chunk:
                raise ConnectionError("the node closed the connection")
            self._buffer += chunk
        data = self._buffer[:n]
        del self._buffer[:n]
        return data

    def abort(self) -> None:
        """End the connection without a word."""
        if self._writer is not None:
            self._writer.transport.abort()


class StreamConnection(Client):
    """A connection to one node."""

    def __init__(self, settings: MessageLogSettings, server: str, *, client: str) -> None:
        host, _, port = server.rpartition(":")
        tls = ssl.create_default_context(cafile=settings.ca_file or None) if settings.tls else None
        super().__init__(
            host,
            int(port),
            ssl_context=tls,
            frame_max=FRAME_BYTES,
            heartbeat=_HEARTBEAT_S,
            connection_name=client,
            connection_closed_handler=lambda _: None,
        )
        self.lost = asyncio.Event()
        self._link = _FastConnection(self.host, self.port, tls)

    async def start(self) -> None:
        """Connect, without a log-in."""
        self._conn = self._link
        await self._link.open()
        self.start_task("listener", self._listener())
        self.add_handler(MetadataUpdate, self._note_change)

    def _note_change(self, _: MetadataUpdate) -> None:
        """End the connection when its stream has another leader: publishers and subscriptions are gone."""
        self.drop()

    def drop(self) -> None:
        """End the connection: `lost` is set soon."""
        self._link.abort()

    async def _listener(self) -> None:
        try:
            await super()._listener()
        finally:
            self.lost.set()
            for waiter in list(self._waiters.values()):
                if not waiter.done():
                    waiter.set_exception(ConnectionError("the connection to a node ended"))

    async def find_nodes(self, stream: str) -> StreamNodes:
        """Return the nodes of a stream. The node lists only those that run.

        Raises:
            ConnectionError: There is no leader.
        """
        question = Metadata(self._corr_id_seq.next(), streams=[stream])
        answer = await self.sync_request(question, resp_schema=MetadataResponse)
        [found] = answer.metadata
        brokers = {broker.reference: f"{broker.host}:{broker.port}" for broker in answer.brokers}
        if found.leader_ref not in brokers:
            raise ConnectionError(f"{stream} has no leader")
        replicas = sorted(brokers[reference] for reference in found.replicas_refs if reference in brokers)
        return StreamNodes(brokers[found.leader_ref], tuple(replicas))

    async def abort(self) -> None:
        """End the connection without a word, and all tasks of it."""
        self._is_not_closed = False
        self._link.abort()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def translate_errors() -> AsyncIterator[None]:
    """Turn the client's errors into those of the log."""
    try:
        yield
    except _ERRORS as error:
        raise LogUnavailableError(f"the log does not answer: {error!r}") from error


async def connect_to_node(settings: MessageLogSettings, server: str, *, client: str) -> StreamConnection:
    """Connect to a node and log in.

    Raises:
        LogUnavailableError: It does not answer within two seconds, or refuses; its address has no port, or
            the CA certificates cannot be read.
    """
    async with translate_errors():
        connection = StreamConnection(settings, server, client=client)
    try:
        async with translate_errors(), asyncio.timeout(_CONNECT_S):
            await connection.start()
            await connection.authenticate("/", settings.username, settings.password.get_secret_value())
    except BaseException:
        await connection.abort()
        raise
    return connection


async def find_nodes(connection: StreamConnection, stream: str) -> StreamNodes:
    """Return the nodes of a stream.

    Raises:
        LogUnavailableError: It has no leader, or the node does not answer.
    """
    async with translate_errors(), asyncio.timeout(_CONNECT_S):
        return await connection.find_nodes(stream)


async def connect_to_stream(
    settings: MessageLogSettings, stream: str, *, client: str, at_leader: bool
) -> StreamConnection:
    """Connect to the leader of a stream, or to any node with a replica.

    The nodes are tried in random order: one of them may hang.

    Raises:
        LogUnavailableError: There is no leader, or no node answers.
    """
    failure = LogUnavailableError("the settings name no node of the log")
    for server in random.sample(settings.servers, len(settings.servers)):
        locator: StreamConnection | None = None
        try:
            locator = await connect_to_node(settings, server, client=client)
            nodes = await find_nodes(locator, stream)
            if server == nodes.leader or (server in nodes.replicas and not at_leader):
                found, locator = locator, None
                return found
            return await connect_to_node(settings, nodes.leader, client=client)
        except LogUnavailableError as error:
            failure = error
        finally:
            if locator is not None:
                await locator.abort()
    raise failure
