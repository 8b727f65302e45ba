"""Boxes of the fleet with TLS: they come back after a stop of their broker, and get what it retains."""

import os
from pathlib import Path

import aiomqtt
import trustme

from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import TlsListener
from app.standalone.private_mosquitto import PrivateMosquitto
from bench.fleet_clients import run_fleet_clients
from bench.load import box_id

BOXES = 12


def make_listener(folder: Path) -> TlsListener:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return TlsListener("127.0.0.1", find_free_port(), folder / "certificate.pem", folder / "key.pem")


async def test_boxes_with_tls_come_back_and_get_their_configuration(folder: Path) -> None:
    listener = make_listener(folder)
    accounts = {box_id(index): f"password-{index}" for index in range(BOXES)}
    accounts |= {"ingest": "ingest-pw", "gateway": "gateway-pw"}
    boxes = [(index, f"password-{index}") for index in range(BOXES)]
    more = {
        "authority": str(folder / "authority.pem"),
        "behaviour": {"first_wait_s": 0.2, "longest_wait_s": 1.0, "has_configuration": True},
    }
    address = ("127.0.0.1", listener.port)
    async with PrivateMosquitto(folder / "mosquitto", accounts=accounts, tls=listener) as broker:
        async with aiomqtt.Client(
            broker.host, broker.port, username="ingest", password="ingest-pw"
        ) as client:
            for index in range(BOXES):
                await client.publish(f"vigie/v1/{box_id(index)}/config", b"{}", retain=True, qos=1)
        async with run_fleet_clients(folder, address, os.environ, boxes, 1.0, more=more) as fleet:
            await fleet.until(fleet.begun, 60, "the process must begin")
            await fleet.tell("go")
            await fleet.until(lambda: fleet.total("configured") == BOXES, 60, "all must be configured")
            assert (fleet.total("lost"), fleet.total("returned")) == (0, 0)
            await broker.stop()
            await fleet.until(lambda: fleet.total("lost") == BOXES, 60, "all must be lost")
            assert (fleet.total("connected"), fleet.total("configured")) == (0, 0)
            await broker.start()
            await fleet.until(lambda: fleet.total("configured") == BOXES, 60, "all must be back")
            assert fleet.total("returned") == fleet.total("connected") == BOXES
            await fleet.tell("send")
            await fleet.until(lambda: fleet.total("sent") >= BOXES, 60, "all must send")
