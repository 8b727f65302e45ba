"""The TLS listener of the private broker, with authorities made on the fly."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import aiomqtt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr, ValidationError

from app.ingest.sources.source_factory import make_source
from app.platform.broker.broker_client_factory import make_broker_client, make_tls_context
from app.platform.config.platform_settings import BrokerSettings, BrokerTlsSettings
from app.platform.kernel.atomic_files import replace_file_text
from app.settings import TlsListenerSettings, VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import TlsListener
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.unprivileged_accounts import StandaloneError
from simulators.mqtt_link import MqttLink, keep_connected
from simulators.target_stack import BrokerAddress

ACCOUNTS = {"ingest": "ingest-pw", "gateway": "gateway-pw", "box-1": "one", "box-2": "two"}
Clients = Literal["password", "certificate", "identity"]


class Keys:
    """An authority for the broker, another one for boxes, and the files of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = trustme.CA()
        self.boxes = trustme.CA()
        broker = self.servers.issue_cert("127.0.0.1")
        self.ca = self._file("ca.pem", self.servers.cert_pem)
        self.client_ca = self._file("client-ca.pem", self.boxes.cert_pem)
        self.key = self._file("key.pem", broker.private_key_pem)
        self.certificate = folder / "certificate.pem"
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in broker.cert_chain_pems))

    def _file(self, name: str, blob: trustme.Blob) -> Path:
        path = self.folder / name
        path.write_bytes(blob.bytes())
        return path

    def box(self, name: str) -> tuple[Path, Path]:
        """A box's certificate, with its common name, and its key."""
        leaf = self.boxes.issue_cert(f"{name}.invalid", common_name=name)
        path = self.folder / f"{name}.pem"
        path.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return path, self._file(f"{name}-key.pem", leaf.private_key_pem)

    def revoke(self, *certificates: Path) -> Path:
        """The list of certificates that the boxes' authority has revoked."""
        key = serialization.load_pem_private_key(self.boxes.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        issuer = x509.load_pem_x509_certificate(self.boxes.cert_pem.bytes()).subject
        now = datetime.now(UTC)
        revoked = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(now)
        revoked = revoked.next_update(now + timedelta(days=1))
        for certificate in certificates:
            serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            revoked = revoked.add_revoked_certificate(entry)
        path = self.folder / "crl.pem"
        path.write_bytes(revoked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture
def keys(folder: Path) -> Keys:
    return Keys(folder)


@asynccontextmanager
async def broker(
    keys: Keys, clients: Clients, *, crl: Path | None = None
) -> AsyncIterator[tuple[PrivateMosquitto, int]]:
    """A broker with both listeners, and the port of the second one."""
    listener = TlsListener(
        host="127.0.0.1",
        port=find_free_port(),
        certificate_file=keys.certificate,
        key_file=keys.key,
        client_ca_file=keys.client_ca,
        client_crl_file=crl,
        clients=clients,
    )
    async with PrivateMosquitto(keys.folder / "mosquitto", accounts=ACCOUNTS, tls=listener) as mq:
        yield mq, listener.port


def trusting(keys: Keys, certificate: str | None = None) -> ssl.SSLContext:
    """Trust in the broker's authority, and perhaps a box's certificate to show."""
    context = ssl.create_default_context(cafile=keys.ca)
    if certificate is not None:
        context.load_cert_chain(*keys.box(certificate))
    return context


def box(
    keys: Keys,
    port: int,
    username: str | None,
    *,
    certificate: str | None = None,
    client_id: str | None = None,
) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        port,
        username=username,
        password=None if username is None else ACCOUNTS[username],
        identifier=client_id,
        tls_context=trusting(keys, certificate),
        timeout=20,
    )


async def enters(port: int, context: ssl.SSLContext | None, username: str | None = None) -> bool:
    """Connect with bare hands: aiomqtt leaves its socket open when a handshake fails."""

    def text(value: str) -> bytes:
        return len(value).to_bytes(2) + value.encode()

    flags, words = (0x02, b"") if username is None else (0xC2, text(username) + text(ACCOUNTS[username]))
    body = text("MQTT") + bytes((4, flags, 0, 30)) + text("by-hand") + words
    writer = None
    try:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(bytes((0x10, len(body))) + body)
            # With TLS 1.3 a client hears that its certificate was refused only when it reads on.
            return await reader.readexactly(4) == b"\x20\x02\x00\x00"
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def listen_through(client: aiomqtt.Client, broker_pid: int) -> None:
    """Be connected while the broker reads its accounts again; gives an error once it ends the connection."""
    async with client, asyncio.timeout(60):
        os.kill(broker_pid, signal.SIGHUP)
        await anext(aiter(client.messages))


async def test_a_box_keeps_its_session_whatever_client_id_another_one_sends(keys: Keys) -> None:
    async with (
        broker(keys, "password") as (_, port),
        box(keys, port, "box-1", client_id="victim") as victim,
        box(keys, port, "box-2", client_id="victim"),
        box(keys, port, "box-2", client_id="box-1") as thief,
    ):
        await thief.publish("vigie/v1/box-2/telemetry", b"own", qos=1)
        await victim.publish("vigie/v1/box-1/telemetry", b"still here", qos=1)


async def test_without_tls_a_password_or_trust_nobody_enters(keys: Keys) -> None:
    async with broker(keys, "password") as (_, port):
        assert await enters(port, trusting(keys), "box-1")
        assert not await enters(port, None, "box-1")
        assert not await enters(port, trusting(keys))
        assert not await enters(port, ssl.create_default_context(), "box-1")


async def test_a_certificate_may_be_asked_for_beside_the_password(keys: Keys) -> None:
    async with broker(keys, "certificate") as (_, port):
        assert not await enters(port, trusting(keys), "box-1")
        assert not await enters(port, trusting(keys, "box-1"))
        assert await enters(port, trusting(keys, "box-1"), "box-1")


async def test_a_certificate_alone_names_the_box_until_it_is_revoked(keys: Keys) -> None:
    crl = keys.revoke()
    leaving = trusting(keys, "box-2")
    async with broker(keys, "identity", crl=crl) as (mq, port):
        async with (
            aiomqtt.Client(mq.host, mq.port, username="ingest", password="ingest-pw", timeout=20) as ingest,
            box(keys, port, None, certificate="box-1") as one,
        ):
            await ingest.subscribe("vigie/v1/+/telemetry", qos=1)
            await one.publish("vigie/v1/box-2/telemetry", b"forged", qos=1)
            await one.publish("vigie/v1/box-1/telemetry", b"own", qos=1)
            assert str((await anext(aiter(ingest.messages))).topic) == "vigie/v1/box-1/telemetry"
        assert await enters(port, leaving)
        keys.revoke(keys.folder / "box-2.pem")
        await mq.stop()
        await mq.start()
        assert not await enters(port, leaving)
        assert await enters(port, trusting(keys, "box-1"))


async def test_a_box_without_a_line_in_the_password_file_is_disconnected(keys: Keys) -> None:
    async with broker(keys, "certificate") as (mq, port):
        lines = mq.password_file.read_text().splitlines(keepends=True)
        replace_file_text(mq.password_file, "".join(line for line in lines if not line.startswith("box-1:")))
        with pytest.raises(aiomqtt.MqttError):
            await listen_through(box(keys, port, "box-1", certificate="box-1"), mq.pid)
        assert not await enters(port, trusting(keys, "box-1"), "box-1")
        assert await enters(port, trusting(keys, "box-2"), "box-2")


async def test_the_signal_that_renews_accounts_leaves_certified_boxes_alone(keys: Keys) -> None:
    async with broker(keys, "identity") as (mq, port), box(keys, port, None, certificate="box-1") as one:
        os.kill(mq.pid, signal.SIGHUP)
        await asyncio.sleep(0.2)
        await one.publish("vigie/v1/box-1/telemetry", b"still here", qos=1, timeout=20)


async def test_the_roles_reach_a_broker_by_tls(keys: Keys) -> None:
    async with broker(keys, "certificate") as (_, port):
        certificate, key = keys.box("roles")
        tls = BrokerTlsSettings(enabled=True, ca_file=keys.ca, certificate_file=certificate, key_file=key)
        settings = BrokerSettings(port=port, username="ingest", password=SecretStr("ingest-pw"), tls=tls)
        async with make_broker_client(settings, timeout_s=20) as client:
            await client.publish("vigie/v1/box-1/ack", b"{}", qos=1, timeout=20)
        unsure = settings.model_copy(update={"tls": tls.model_copy(update={"ca_file": None})})
        assert not await enters(port, make_tls_context(unsure), "ingest")
        assert make_tls_context(BrokerSettings()) is None
        lost = settings.model_copy(update={"tls": tls.model_copy(update={"ca_file": keys.folder / "none"})})
        with pytest.raises(OSError, match="No such file"):
            make_broker_client(lost, timeout_s=5)


@pytest.mark.parametrize("source", ["mqtt5", "aiomqtt"])
async def test_both_sources_read_by_tls(keys: Keys, source: Literal["mqtt5", "aiomqtt"]) -> None:
    async with broker(keys, "password") as (_, port):
        settings = VigieSettings(_env_file=None)
        settings.ingest.source = source
        tls = BrokerTlsSettings(enabled=True, ca_file=keys.ca)
        settings.broker = BrokerSettings(
            port=port, username="ingest", password=SecretStr("ingest-pw"), tls=tls
        )
        consumer = make_source(settings.ingest, settings.broker)
        await consumer.start()
        try:
            async with asyncio.timeout(60):
                while not consumer.connected:  # noqa: ASYNC110 (it has no event)
                    await asyncio.sleep(0.01)
                async with box(keys, port, "gateway") as gateway:
                    for number in range(1_500):
                        await gateway.publish("vigie/v1/box-1/telemetry", str(number).encode() * 50, qos=0)
                found: list[bytes] = []
                while len(found) < 1_500:
                    batch = await consumer.next_batch()
                    found += batch.payloads
                    consumer.acknowledge(batch)
        finally:
            await consumer.stop()
        assert found == [str(number).encode() * 50 for number in range(1_500)]


async def test_simulators_reach_it_too(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(keys.ca))
    async with broker(keys, "password") as (_, port):
        link = MqttLink(BrokerAddress("127.0.0.1", port, "box-1", "one", tls=True), status_of="box-1")
        async with keep_connected([link], wait_s=60):
            await asyncio.wait_for(link.publish("vigie/v1/box-1/telemetry", b"{}"), 60)


async def test_a_listener_whose_files_are_not_there_names_them(keys: Keys) -> None:
    keys.key.unlink()
    with pytest.raises(StandaloneError, match=r"key\.pem cannot be read"):
        async with broker(keys, "password"):
            pass


def test_a_listener_is_set_up_whole_or_not_at_all(folder: Path) -> None:
    assert TlsListenerSettings().port == 0
    with pytest.raises(ValidationError, match="certificate_file and key_file"):
        TlsListenerSettings(port=8883)
    with pytest.raises(ValidationError, match="client_ca_file"):
        TlsListenerSettings(
            port=8883, certificate_file=folder / "a", key_file=folder / "b", clients="identity"
        )
