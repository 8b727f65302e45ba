"""Publishing to a real broker: what arrives, what an attempt comes to when the broker cannot, or will not."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiomqtt
import pytest
import trustme
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.mqtt import mqtt_transport
from app.notifications.mqtt.mqtt_connection import PublisherConnection
from app.notifications.mqtt.mqtt_transport import (
    BODY_LIMIT,
    MqttTransport,
    build_delivery_topic,
    build_topic_root,
)
from app.platform.config.platform_settings import BrokerSettings, BrokerTlsSettings
from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import TlsListener
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.integration.notifications.helpers import claim_of

OURS, THEIRS = uuid4(), uuid4()
PASSWORDS = {"ingest": "ingest-password", f"@{OURS}": "our-password", f"@{THEIRS}": "their-password"}


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateMosquitto]:
    """A broker that tests may stop: it is found again where it was."""
    async with PrivateMosquitto(tmp_path_factory.mktemp("publishing"), accounts=PASSWORDS) as started:
        yield started


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[PublisherConnection]:
    """The connections that were begun, in their order."""
    begun: list[PublisherConnection] = []

    class Noted(PublisherConnection):
        def __init__(self, settings: BrokerSettings, *, timeout_s: float) -> None:
            super().__init__(settings, timeout_s=timeout_s)
            begun.append(self)

    monkeypatch.setattr(mqtt_transport, "PublisherConnection", Noted)
    return begun


def settings_of(broker: PrivateMosquitto, username: str = "ingest", **changes: Any) -> BrokerSettings:  # noqa: ANN401 (fields of settings)
    password = SecretStr(PASSWORDS.get(username, "wrong"))
    usual = {"host": broker.host, "port": broker.port, "username": username, "password": password}
    return BrokerSettings(**{**usual, **changes})


def reader(broker: PrivateMosquitto, organisation: UUID, *, kept: str | None = None) -> aiomqtt.Client:
    """A subscriber under an organisation's account; with `kept` under a session of this name."""
    username = f"@{organisation}"
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=username,
        password=PASSWORDS[username],
        identifier=kept,
        clean_session=kept is None,
        timeout=5,
    )


async def received(client: aiomqtt.Client, count: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(60):
        async for message in client.messages:
            assert (message.qos, message.retain) == (1, False)
            found.append((str(message.topic), json.loads(message.payload)))
            if len(found) == count:
                break
    return found


def claimed(organisation: UUID = OURS, body: bytes = b'{"id":"msg_1"}', **changes: Any) -> LeasedDelivery:  # noqa: ANN401 (fields of a claim)
    return claim_of("", "", body, organisation_id=organisation, kind="mqtt", target={}, **changes)


async def send(publisher: MqttTransport, claim: LeasedDelivery) -> AttemptOutcome:
    return await publisher.send(claim, datetime.now(UTC))


async def until_delivered(publisher: MqttTransport, claim: LeasedDelivery) -> AttemptOutcome:
    """Attempt as the dispatcher would, until it is taken."""
    async with asyncio.timeout(60):
        outcome = await send(publisher, claim)
        while not outcome.delivered:
            await asyncio.sleep(0.05)
            outcome = await send(publisher, claim)
    return outcome


async def test_an_alert_arrives_on_the_topic_of_its_organisation_and_site(broker: PrivateMosquitto) -> None:
    site = uuid4()
    async with reader(broker, OURS) as client, MqttTransport(settings_of(broker)) as publisher:
        await client.subscribe(f"{build_topic_root(OURS)}/#", qos=1)
        first = await send(publisher, claimed(site_id=site))
        second = await send(publisher, claimed(type="alert.group", body=b'{"id":"msg_2"}'))
        assert [first.reason, second.reason] == ["delivered", "delivered"]
        assert (first.status, first.body) == (None, None)
        assert 0 < first.duration_ms < 5_000
        assert await received(client, 2) == [
            (f"vigie/v1/@{OURS}/alerts/{site}/alert.firing", {"id": "msg_1"}),
            (f"vigie/v1/@{OURS}/alerts/-/alert.group", {"id": "msg_2"}),
        ]


async def test_that_nobody_listens_is_remarked(broker: PrivateMosquitto) -> None:
    async with MqttTransport(settings_of(broker)) as publisher:
        outcome = await send(publisher, claimed(uuid4()))
    assert (outcome.reason, outcome.body) == ("delivered", "No matching subscribers")


async def test_many_at_once_share_one_connection(broker: PrivateMosquitto) -> None:
    async with reader(broker, OURS) as client, MqttTransport(settings_of(broker)) as publisher:
        await client.subscribe(f"{build_topic_root(OURS)}/#", qos=1)
        bodies = [json.dumps({"id": f"msg_{number}"}).encode() for number in range(300)]
        outcomes = await asyncio.gather(*(send(publisher, claimed(body=body)) for body in bodies))
        assert {outcome.reason for outcome in outcomes} == {"delivered"}
        link = publisher._connection
        assert {body["id"] for _, body in await received(client, 300)} == {
            f"msg_{number}" for number in range(300)
        }
        await send(publisher, claimed())
        assert publisher._connection is link


async def test_the_media_type_is_told(broker: PrivateMosquitto) -> None:
    username = f"@{OURS}"
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        username=username,
        password=PASSWORDS[username],
        protocol=aiomqtt.ProtocolVersion.V5,
    )
    async with client, MqttTransport(settings_of(broker)) as publisher:
        await client.subscribe(f"{build_topic_root(OURS)}/#", qos=1)
        for format_ in ("native", "cloudevents"):
            await send(publisher, claimed(format=format_))
        told = [(await anext(aiter(client.messages))).properties for _ in range(2)]
    types = [getattr(properties, "ContentType", None) for properties in told]
    assert types == ["application/json", "application/cloudevents+json"]


async def test_nothing_is_lost_while_the_broker_is_stopped_and_started(
    broker: PrivateMosquitto, links: list[PublisherConnection]
) -> None:
    async with MqttTransport(settings_of(broker)) as publisher:
        async with reader(broker, OURS, kept="stays") as client:
            await client.subscribe(f"{build_topic_root(OURS)}/#", qos=1)
            assert (await send(publisher, claimed())).delivered
            await received(client, 1)
        assert (await send(publisher, claimed(body=b'{"id":"msg_before"}'))).delivered
        await broker.stop()
        before = len(links)
        try:
            outcomes = [await send(publisher, claimed()) for _ in range(40)]
        finally:
            await broker.start()
        reasons = {outcome.reason for outcome in outcomes}
        assert reasons <= {"connect_failed", "response_broken"}
        # It is not asked anew for each, but after ever longer waits: that would pile up.
        assert len(links) - before < 10
        await until_delivered(publisher, claimed(body=b'{"id":"msg_after"}'))
        async with reader(broker, OURS, kept="stays") as client:
            got = [body["id"] for _, body in await received(client, 2)]
        assert got == ["msg_before", "msg_after"]


async def test_a_broker_that_dies_under_a_message_fails_it_at_once(
    broker: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_transport, "TIMEOUT_S", 100.0)
    async with MqttTransport(settings_of(broker)) as publisher:
        assert (await send(publisher, claimed())).delivered
        child = broker.child
        assert child is not None
        child.send(signal.SIGSTOP)  # it takes the message and says nothing
        waiting = asyncio.create_task(send(publisher, claimed()))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        broker.kill()
        async with asyncio.timeout(60):
            outcome = await waiting
        await broker.stop()
        await broker.start()
        assert outcome.reason == "response_broken"
        await until_delivered(publisher, claimed())


async def test_a_broker_that_says_nothing_is_left_in_time(
    broker: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MqttTransport(settings_of(broker)) as publisher:
        assert (await send(publisher, claimed())).delivered
        child = broker.child
        assert child is not None
        child.send(signal.SIGSTOP)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(mqtt_transport, "TIMEOUT_S", 0.5)
                outcome = await send(publisher, claimed())
        finally:
            child.send(signal.SIGCONT)
        assert outcome.reason == "timeout"
        # The next one has a connection of its own.
        assert (await until_delivered(publisher, claimed())).delivered


async def test_what_the_rules_of_access_refuse_is_no_delivery(broker: PrivateMosquitto) -> None:
    async with MqttTransport(settings_of(broker, f"@{OURS}")) as publisher:
        with capture_logs() as logs:
            outcome = await send(publisher, claimed())
    assert (outcome.reason, outcome.body) == ("login_refused", None)
    assert ("publish_refused", "Not authorized") in [(line["event"], line["error"]) for line in logs]


async def test_a_wrong_password(
    broker: PrivateMosquitto, links: list[PublisherConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_transport, "_FIRST_WAIT_S", 60.0)
    async with MqttTransport(settings_of(broker, password=SecretStr("wrong"))) as publisher:
        with capture_logs() as logs:
            first, second = [await send(publisher, claimed()) for _ in range(2)]
    assert first.reason == second.reason == "login_refused"
    # What the broker said to the roles' account is for the log alone.
    assert first.body is None
    assert any("Not authorized" in line["error"] for line in logs if line["event"] == "broker_lost")
    assert len(links) == 1  # it is not tried again at once


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_brokers_that_cannot_be_reached(
    broker: PrivateMosquitto, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: dict[str, dict[str, Any]] = {
        "connect_failed": {"port": find_free_port()},
        "name_unresolved": {"host": "broker.invalid"},
        "connect_timeout": {"port": silent},
    }
    for reason, change in cases.items():
        if reason == "connect_timeout":
            monkeypatch.setattr(mqtt_transport, "_CONNECT_S", 0.3)
        async with MqttTransport(settings_of(broker, **change)) as publisher:
            outcomes = await asyncio.gather(*(send(publisher, claimed()) for _ in range(5)))
        assert {outcome.reason for outcome in outcomes} == {reason}


# paho leaves its socket to the garbage collector when a handshake fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_by_tls_to_a_broker_that_is_the_right_one(folder: Path) -> None:
    ours, another = trustme.CA(), trustme.CA()
    issued = ours.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    ours.cert_pem.write_to_path(folder / "ours.pem")
    another.cert_pem.write_to_path(folder / "another.pem")
    listener = TlsListener("127.0.0.1", find_free_port(), folder / "certificate.pem", folder / "key.pem")
    async with PrivateMosquitto(folder / "mosquitto", accounts=PASSWORDS, tls=listener) as started:
        for name, reason in (
            ("ours.pem", "delivered"),
            ("another.pem", "tls_failed"),
            ("key.pem", "tls_failed"),
            ("missing.pem", "tls_failed"),
        ):
            tls = BrokerTlsSettings(enabled=True, ca_file=folder / name)
            async with MqttTransport(settings_of(started, port=listener.port, tls=tls)) as publisher:
                outcome = await send(publisher, claimed())
            assert outcome.reason == reason, (name, outcome)


async def test_what_is_too_large_does_not_end_the_connection_of_others(broker: PrivateMosquitto) -> None:
    async with MqttTransport(settings_of(broker)) as publisher:
        assert (await send(publisher, claimed(body=b"x" * BODY_LIMIT))).delivered
        link = publisher._connection
        outcome = await send(publisher, claimed(body=b"x" * (BODY_LIMIT + 1)))
        assert (outcome.reason, outcome.body) == (
            "internal_error",
            f"{BODY_LIMIT + 1} bytes are more than a broker accepts",
        )
        assert (await send(publisher, claimed())).delivered
        assert publisher._connection is link


async def test_it_closes_while_it_connects(
    silent: int, broker: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_transport, "_CONNECT_S", 0.3)
    async with MqttTransport(settings_of(broker, port=silent)) as publisher:
        sending = asyncio.create_task(send(publisher, claimed()))
        await asyncio.sleep(0.05)
        sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


def test_topics() -> None:
    assert build_delivery_topic(claimed(type="webhook.test")) == f"vigie/v1/@{OURS}/alerts/-/webhook.test"
