"""The log of a test, and edges at brokers of their own: started, killed, and what they report."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import aiomqtt
import nats
import nats.errors
import nats.js.errors
from pydantic import SecretStr

from app.message_log.log_records import LogRecord, decode_record
from app.message_log.message_log import LogUnavailableError, MessageLog, StoredRecord
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import RegisteredEdge, list_edges
from app.platform.db.database import Database
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS
from tests.scenarios.processes import RoleProcess, role, until
from tools.clusters import nats_cluster
from tools.clusters.nats_cluster import NatsCluster

PARTITIONS = 4


async def remove_streams(settings: MessageLogSettings) -> None:
    """Remove the streams of a log in NATS, whose nodes may have just been resumed."""
    connection = await nats.connect(
        servers=[f"nats://{server}" for server in settings.servers],
        user=settings.username,
        password=settings.password.get_secret_value(),
    )
    streams = connection.jetstream(timeout=2)
    left = [f"{settings.name}-{partition}" for partition in range(settings.partitions)]
    async with asyncio.timeout(60):
        while left:
            with suppress(nats.errors.TimeoutError, nats.js.errors.ServiceUnavailableError):
                with suppress(nats.js.errors.NotFoundError):  # it was never opened
                    await streams.delete_stream(left[-1])
                left.pop()
    await connection.close()


class LogCluster:
    """A log on three nodes.

    Args:
        nodes: The nodes.
        settings: The test's settings, which get those of the log.
    """

    def __init__(self, nodes: NatsCluster, settings: VigieSettings) -> None:
        self.nodes = nodes.nodes
        self.settings = MessageLogSettings(
            engine="jetstream",
            servers=nodes.servers,
            username=nats_cluster.USERNAME,
            password=SecretStr(nats_cluster.PASSWORD),
            name=f"log{uuid.uuid4().hex[:8]}",
            partitions=PARTITIONS,
            max_bytes=64 * 2**20,
            timeout_s=2.0,
        )
        self.all_settings = settings.model_copy(update={"message_log": self.settings})
        self._log: MessageLog | None = None

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the settings of the log as variables."""
        values = {
            "ENGINE": "jetstream",
            "SERVERS": json.dumps(self.settings.servers),
            "USERNAME": self.settings.username,
            "PASSWORD": self.settings.password.get_secret_value(),
            "NAME": self.settings.name,
            "PARTITIONS": str(PARTITIONS),
            "MAX_BYTES": str(self.settings.max_bytes),
            "TIMEOUT_S": "2",
        }
        return {f"VIGIE_MESSAGE_LOG__{name}": value for name, value in {**values, **changes}.items()}

    async def open(self) -> MessageLog:
        """Return the test's own connection to the log."""
        if self._log is None:
            self._log = make_message_log(self.settings, client="test")
            async with asyncio.timeout(60):
                while True:
                    try:
                        await self._log.open()
                        break
                    except LogUnavailableError:  # a node that has just begun takes no stream yet
                        await asyncio.sleep(0.2)
        return self._log

    async def remove(self) -> None:
        """Remove all that the log has, as if its disks were new."""
        await remove_streams(self.settings)

    async def close(self) -> None:
        if self._log is not None:
            await self._log.close()

    @asynccontextmanager
    async def suspended(self) -> AsyncIterator[None]:
        """Let two of three nodes hang: nothing can be stored."""
        for node in self.nodes[:2]:
            node.suspend()
        try:
            yield
        finally:
            for node in self.nodes[:2]:
                node.resume()

    async def read(self) -> dict[int, list[tuple[int, LogRecord]]]:
        """Read the whole log: partition → (position, record)."""
        log = await self.open()
        found: dict[int, list[tuple[int, LogRecord]]] = {}
        for partition in range(PARTITIONS):
            newest = await log.find_newest_position(partition)
            reader = log.read(partition, 0)
            stored: list[StoredRecord] = []
            async with asyncio.timeout(60):
                while newest and (not stored or stored[-1].position < newest):
                    stored += await reader.fetch(max_bytes=2**20, max_wait_s=1.0)
            await reader.close()
            found[partition] = [(each.position, decode_record(each.data)[0]) for each in stored]
        return found

    async def read_payloads(self) -> dict[int, list[bytes]]:
        """Read the payloads of each partition."""
        return {
            partition: [payload for _, record in records for payload in record.payloads]
            for partition, records in (await self.read()).items()
        }


class EdgeMachine:
    """One edge, and its broker.

    Args:
        name: Its name.
        broker: Its broker.
        cluster: The log.
        database: The database.
    """

    def __init__(self, name: str, broker: PrivateMosquitto, cluster: LogCluster, database: Database) -> None:
        self.name = name
        self.broker = broker
        self.cluster = cluster
        self._database = database
        self._client_id = f"edge-{uuid.uuid4().hex[:8]}"

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the variables of its process, beside those of the test."""
        return {
            "VIGIE_EDGE__NAME": self.name,
            "VIGIE_INGEST__CLIENT_ID": self._client_id,
            "VIGIE_BROKER__PORT": str(self.broker.port),
            "VIGIE_BROKER__PASSWORD_FILE": str(self.broker.password_file),
            "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(self.broker.static_password_file),
            "VIGIE_BROKER__PID_FILE": str(self.broker.pid_file),
            **changes,
        }

    @asynccontextmanager
    async def running(self, folder: Path, **changes: str) -> AsyncIterator[RoleProcess]:
        """Run the edge for the length of a block, which it must leave with status 0."""
        place = folder / self.name
        place.mkdir(exist_ok=True)
        async with role("edge", place, **self.environment(**changes)) as process:
            await self.until_working()
            yield process

    async def until_working(self) -> RegisteredEdge:
        """Wait until it reports that it drains its broker into the log."""

        async def works() -> RegisteredEdge | None:
            edge = await self.report()
            fresh = edge is not None and edge.silent_s < 1.5
            return edge if fresh and edge and edge.connected and edge.problem is None else None

        found = await until(works)
        assert found is not None
        return found

    async def until_drained(self) -> None:
        """Wait until all that the broker has received is in the log: an edge gathers messages for a while."""
        connection = await self._database.connect()
        try:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        finally:
            await connection.close()

        async def is_drained() -> bool:
            edge = await self.report()
            return edge is not None and edge.drained_at is not None and edge.drained_at > now

        await until(is_drained)

    async def report(self) -> RegisteredEdge | None:
        """Return its last report."""
        connection = await self._database.connect()
        try:
            return {edge.name: edge for edge in await list_edges(connection)}.get(self.name)
        finally:
            await connection.close()

    @asynccontextmanager
    async def client(self, username: str = "gateway", password: str = "") -> AsyncIterator[aiomqtt.Client]:
        """Connect to the broker, by default as the gateway."""
        async with aiomqtt.Client(
            self.broker.host,
            self.broker.port,
            username=username,
            password=password or ACCOUNTS[username],
            identifier=f"test-{username}-{uuid.uuid4().hex[:6]}",
            timeout=20,
        ) as client:
            yield client

    async def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish messages in order as the gateway, each acknowledged by the broker."""
        async with self.client() as client:
            for topic, payload in messages:
                await client.publish(topic, payload, qos=1)
