"""A subscriber of the measurement stream of each kind, and what each has got, as rows of the export."""

import asyncio
import csv
import io
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aio_pika
import aiomqtt
import asyncpg
import httpx
import msgspec
import nats
from aiohttp import web
from standardwebhooks import Webhook

from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from tests.faults.fleet import write_through
from tests.integration.measurement_stream.receiving_servers import (
    PASSWORD,
    RABBITMQ_LOGIN,
    Server,
    postgresql_sink,
    read_victoria,
    run_nats,
    run_rabbitmq,
    run_victoria,
)

METRICS = ("temperature", "pm2_5")
_SUBSCRIPTIONS = "/v1/measurement-subscriptions"
_STREAM = "/v1/measurements/stream?kind=sample"

type Row = tuple[str, datetime, str, str]
type Position = tuple[int, int]


def make_row(box: str, time: datetime, values: Mapping[str, float]) -> Row:
    """Make a row as the export has it, but for zeros at the end of its time."""
    temperature, pm2_5 = (f"{values[name]:g}" if name in values else "" for name in METRICS)
    return box, time, temperature, pm2_5


async def read_export(url: str, key: str) -> Counter[Row]:
    """Read all rows of the export."""
    now = datetime.now(UTC)
    params: dict[str, Any] = {
        "format": "csv",
        "metric": METRICS,
        "from": (now - timedelta(days=30)).isoformat(),
        "to": (now + timedelta(days=1)).isoformat(),
    }
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, timeout=120, headers=headers) as client:
        answer = await client.get("/v1/readings/export", params=params)
    rows = csv.DictReader(io.StringIO(answer.raise_for_status().text))
    return Counter(
        (row["box"], datetime.fromisoformat(row["time"]), row["temperature"], row["pm2_5"]) for row in rows
    )


def place_of(identifier: str) -> Position:
    """The place of an item in the stream."""
    position, _, index = identifier.partition("-")
    return int(position), int(index)


@dataclass
class ReceivedItems:
    """Items by their ids: an id never stands for two things."""

    rows: dict[str, Row] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    repeated: int = 0

    def add(self, item: Mapping[str, Any]) -> None:
        assert item["kind"] == "sample", item
        row = make_row(item["box"], datetime.fromisoformat(item["time"]), item["values"])
        self.repeated += item["id"] in self.rows
        assert self.rows.setdefault(item["id"], row) == row, item
        if "late" in item:
            self.late.add(item["id"])


class LiveSubscriber(ABC):
    """A subscriber that is connected whenever it can be."""

    def __init__(self) -> None:
        self.got = ReceivedItems()
        self.is_listening = False

    async def run(self) -> None:
        while True:
            with suppress(httpx.TransportError, aiomqtt.MqttError):
                await self.connect()
            await asyncio.sleep(0.2)

    @abstractmethod
    async def connect(self) -> None:
        """Receive until the connection ends."""

    async def close(self) -> None:
        """Close connections that are open still."""
        self.is_listening = False


class HttpReader(LiveSubscriber):
    """A subscriber with a client of the API."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(base_url=url, timeout=5, headers={"Authorization": f"Bearer {key}"})

    async def close(self) -> None:
        await super().close()
        await self._client.aclose()


class EventReader(HttpReader):
    """Reads server-sent events, and resumes with the last id that it has read whole."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self._token: str | None = None

    async def connect(self) -> None:
        headers = {} if self._token is None else {"Last-Event-ID": self._token}
        async with self._client.stream("GET", _STREAM, headers=headers) as answer:
            if answer.status_code >= 500:
                return
            answer.raise_for_status()
            self._token = self._token or answer.headers["last-event-id"]
            self.is_listening = True
            block: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line.startswith((":", "retry:")):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    block[name] = value
                else:
                    assert block["event"] == "sample", block
                    self.got.add(msgspec.json.decode(block["data"]))
                    self._token, block = block["id"], {}


class PollingReader(HttpReader):
    """Asks for pages, each after the `next` of the one before."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self._params: dict[str, Any] = {"kind": "sample", "limit": 1000}

    async def connect(self) -> None:
        while True:
            answer = await self._client.get("/v1/measurements/changes", params=self._params)
            if answer.status_code >= 500:
                return
            page = msgspec.json.decode(answer.raise_for_status().content)
            for item in page["data"]:
                self.got.add(item)
            self._params["after"] = page["next"]
            self.is_listening = True
            await asyncio.sleep(0 if page["more"] else 0.2)


class Subscriptions:
    """Subscriptions of a tenant, by the API in this process, whose database may be away."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.ids: dict[str, str] = {}

    async def add(self, name: str, sink: dict[str, Any], **more: object) -> dict[str, Any]:
        body = {"name": name, "sink": sink, "batch": {"size": 500, "max_age": "PT1S"}, **more}
        answer = await self._client.post(_SUBSCRIPTIONS, json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        self.ids[name] = made["id"]
        return made

    async def rewind(self, name: str, to: dict[str, str]) -> None:
        url = f"{_SUBSCRIPTIONS}/{self.ids[name]}/rewind"
        while True:
            answer = await self._client.post(url, json=to)
            if answer.status_code < 500:
                answer.raise_for_status()
                return
            await asyncio.sleep(0.2)

    async def find_behind(self, last: Position) -> dict[str, object]:
        """The subscriptions that have not sent everything up to an item, with what is known of them."""
        behind = {}
        for name, identifier in self.ids.items():
            answer = await self._client.get(f"{_SUBSCRIPTIONS}/{identifier}")
            shown = answer.json()
            if answer.status_code != 200 or place_of(shown["cursor"]) < last:
                behind[name] = shown
        return behind

    async def add_all(self, url: str, servers: "Servers") -> tuple[str, Mapping[str, str]]:
        """Subscribe every kind; returns the webhook's secret, and the login of the MQTT account."""
        channel = await self._client.post("/v1/channels", json={"kind": "mqtt"})
        made = await self.add("webhook", {"kind": "webhook", "url": url}, gzip=True)
        await self.add("mqtt", {"kind": "mqtt"})
        login = {"username": "vigie", "password": PASSWORD, "tls": False}
        await self.add(
            "nats", {"kind": "nats", "server": servers.nats.address, "subject": "city.air", **login}
        )
        queue = {"server": servers.rabbitmq.address, "exchange": "measurements", "tls": False}
        await self.add("rabbitmq", {"kind": "rabbitmq", **queue, **RABBITMQ_LOGIN})
        await self.add("postgresql", postgresql_sink(servers.database), filter={"metrics": METRICS})
        victoria = f"http://{servers.victoria.address}"
        await self.add(
            "influxdb", {"kind": "influxdb", "url": f"{victoria}/write", "measurement": "vigie_all"}
        )
        await self.add("prometheus", {"kind": "prometheus", "url": f"{victoria}/api/v1/write"})
        return made["secret"], channel.raise_for_status().json()["credentials"]


@dataclass(frozen=True)
class Servers:
    """The servers that receive measurements; their stream, exchange, queue and database exist."""

    nats: Server
    rabbitmq: Server
    victoria: Server
    database: str


@asynccontextmanager
async def run_servers(folder: Path, postgres: PrivatePostgres) -> AsyncIterator[Servers]:
    """Run a server of each kind. The database is one of the server of Vigie's own, and dies with it."""
    async with AsyncExitStack() as stack:
        for name in ("nats", "rabbitmq", "victoria"):
            (folder / name).mkdir()
        bus, queues, series = await asyncio.gather(
            stack.enter_async_context(run_nats(folder / "nats")),
            stack.enter_async_context(run_rabbitmq(folder / "rabbitmq")),
            stack.enter_async_context(run_victoria(folder / "victoria")),
        )
        made = Servers(bus, queues, series, await postgres.create_database("receiving_faults"))
        connection = await nats.connect(f"nats://{made.nats.address}", user="vigie", password=PASSWORD)
        await connection.jetstream().add_stream(name="air", subjects=["city.air.>"])
        await connection.close()
        async with await aio_pika.connect(amqp_url(made.rabbitmq)) as connected:
            channel = await connected.channel()
            exchange = await channel.declare_exchange(
                "measurements", aio_pika.ExchangeType.TOPIC, durable=True
            )
            queue = await channel.declare_queue("air", durable=True)
            await queue.bind(exchange, "#")
        await write_through(made.database)
        yield made


class WebhookReceiver:
    """Checks the signature of each request, and takes its items."""

    def __init__(self) -> None:
        self.got = ReceivedItems()
        self.verifier: Webhook | None = None
        self.bodies: dict[str, bytes] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert self.verifier is not None
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        batch = self.verifier.verify(body, headers)
        assert self.bodies.setdefault(headers["webhook-id"], body) == body
        for item in batch["items"]:
            self.got.add(item)
        return web.Response(status=204)


class MqttReceiver(LiveSubscriber):
    """Listens with the organisation's account.

    A broker that is killed loses what it has acknowledged. So after each loss of the connection the client
    rewinds its subscription to the last item that it has.
    """

    def __init__(
        self, broker: PrivateMosquitto, login: Mapping[str, str], subscriptions: Subscriptions
    ) -> None:
        super().__init__()
        self._broker = broker
        self._login = login
        self._subscriptions = subscriptions
        self._last: dict[str, str] = {"time": datetime.now(UTC).isoformat()}
        self._rewind_to: dict[str, str] | None = None

    async def connect(self) -> None:
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._login["username"],
            password=self._login["password"],
            timeout=5,
        )
        try:
            async with client:
                await client.subscribe(f"vigie/v1/measurements/{self._login['username']}/#", qos=1)
                self.is_listening = True
                if self._rewind_to is not None:
                    await self._subscriptions.rewind("mqtt", self._rewind_to)
                    self._rewind_to = None
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    item = msgspec.json.decode(message.payload)
                    self.got.add(item)
                    self._last = {"item": item["id"]}
        except aiomqtt.MqttError:
            # What came since the last loss, before the rewind, may have a gap before it.
            self._rewind_to = self._rewind_to or self._last


async def read_jetstream(server: Server) -> ReceivedItems:
    """Read all messages of the stream, in which a repeated item is stored once."""
    got = ReceivedItems()
    connection = await nats.connect(f"nats://{server.address}", user="vigie", password=PASSWORD)
    streams = connection.jetstream(timeout=30)
    reading = await streams.subscribe("city.air.>", ordered_consumer=True)
    for _ in range((await streams.stream_info("air")).state.messages):
        message = await reading.next_msg(timeout=60)
        item = msgspec.json.decode(message.data)
        assert (message.headers or {})["id"] == item["id"]
        got.add(item)
    await connection.close()
    return got


async def read_queue(server: Server) -> ReceivedItems:
    """Read all messages of the queue, in which a repeated item has the same message id."""
    got = ReceivedItems()
    connection = await aio_pika.connect(amqp_url(server))
    channel = await connection.channel()
    queue = await channel.declare_queue("air", durable=True, passive=True)
    left = queue.declaration_result.message_count or 0
    async with queue.iterator(no_ack=True, timeout=60) as messages:
        while left > 0:
            message = await anext(messages)
            item = msgspec.json.decode(message.body)
            assert message.message_id == item["id"]
            got.add(item)
            left -= 1
    await connection.close()
    return got


def amqp_url(server: Server) -> str:
    login = f"{RABBITMQ_LOGIN['username']}:{RABBITMQ_LOGIN['password']}"
    return f"amqp://{login}@{server.address}/"


async def read_table(url: str) -> ReceivedItems:
    """Read the table, whose primary key has the item's id."""
    got = ReceivedItems()
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT id, kind, box, time, late, temperature, pm2_5 FROM vigie_measurements"
    )
    await connection.close()
    for row in rows:
        values = {name: row[name] for name in METRICS if row[name] is not None}
        item = {"id": row["id"], "kind": row["kind"], "box": row["box"], "time": row["time"].isoformat()}
        got.add({**item, "values": values} | ({"late": row["late"]} if row["late"] else {}))
    return got


def read_points(server: Server, match: str, prefix: str) -> dict[tuple[str, datetime], dict[str, set[float]]]:
    """Read the values of the series whose names have a prefix: (box, time) → metric → values."""
    found: dict[tuple[str, datetime], dict[str, set[float]]] = defaultdict(lambda: defaultdict(set))
    for series in read_victoria(server, match):
        labels = series["metric"]
        metric = labels["__name__"].removeprefix(prefix)
        for time_ms, value in zip(series["timestamps"], series["values"], strict=True):
            time = datetime.fromtimestamp(time_ms / 1000, UTC)
            found[labels["box"], time][metric].add(value)
    return found
