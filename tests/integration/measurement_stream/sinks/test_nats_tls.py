"""A sink that has to use TLS sends NATS nothing in clear text, whatever the server announces."""

import asyncio
import json
from pathlib import Path

import nats
import trustme

from app.measurement_stream.sinks.nats_sink import NatsSink
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.standalone.free_ports import find_free_port
from tests.integration.measurement_stream.conftest import NOW
from tests.integration.measurement_stream.receiving_servers import PASSWORD, launch
from tests.integration.measurement_stream.sinks.conftest import ONE, make_batch
from tools.clusters.cluster_nodes import find_server

AUTHORITY = trustme.CA()


def make_sink(port: int) -> NatsSink:
    target = {
        "server": f"localhost:{port}",
        "tls": True,
        "ca_certificate": AUTHORITY.cert_pem.bytes().decode(),
        "subject": "city.air",
        "username": "vigie",
    }
    config = SinkConfig(ONE, ONE, "nats", "json", False, None, target, {"password": PASSWORD})
    return NatsSink(config, 30, allow_private=True)


async def test_a_server_that_does_not_require_tls_gets_no_login() -> None:
    got = bytearray()
    info = {"server_id": "x", "version": "2.10.0", "max_payload": 1 << 20, "auth_required": True}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while data := await reader.read(4096):
            got.extend(data)
            # It answers as NATS does to a login, and to what is no TLS.
            writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        sink = make_sink(server.sockets[0].getsockname()[1])
        outcome = await sink.send(make_batch(pm2_5=1.5), NOW)
        await sink.close()
    assert b"CONNECT" not in got
    assert PASSWORD.encode() not in got
    assert outcome.reason == "tls_failed"


async def test_a_server_that_also_allows_clear_text_is_reached_by_tls(tmp_path: Path) -> None:
    AUTHORITY.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    port, monitor = find_free_port(), find_free_port()
    (tmp_path / "nats.conf").write_text(
        f"""
        host: 127.0.0.1, port: {port}, http: "127.0.0.1:{monitor}", allow_non_tls: true
        jetstream {{ store_dir: "{tmp_path}/store" }}
        tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.pem" }}
        authorization {{ user: vigie, password: "{PASSWORD}" }}
        """
    )
    words = [find_server("nats-server", "nats-server"), "-c", str(tmp_path / "nats.conf")]
    server = await launch(tmp_path, "nats", words, port, f"http://127.0.0.1:{monitor}/healthz")
    try:
        reader = await nats.connect(f"nats://127.0.0.1:{port}", user="vigie", password=PASSWORD)
        await reader.jetstream().add_stream(name="air", subjects=["city.air.>"])
        sink = make_sink(port)
        assert (await sink.send(make_batch(pm2_5=1.5), NOW)).reason == "delivered"
        stored = (await reader.jetstream().stream_info("air")).state.messages
        await sink.close()
        await reader.close()
    finally:
        await server.node.stop()
    assert stored == 1
