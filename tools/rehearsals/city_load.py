"""Sets up an organisation with boxes, a rule and a webhook, and puts load on it by MQTT and HTTP.

At the end, `compare` says whether each sample was stored exactly once, each alert made once, and each event
delivered.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from simulators.rest_client import ApiClient
from tools.rehearsals.http_load import HttpLoad
from tools.rehearsals.mqtt_load import RULE, MqttLoad, is_alarm
from tools.rehearsals.report import RehearsalError
from tools.rehearsals.role_processes import RehearsedServices
from tools.rehearsals.webhook_ledger import WebhookLedger

_SITE: Final = {
    "name": "Rehearsal street",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6045]},
}
_STORED: Final = (
    "SELECT b.id, count(*) AS rows, count(DISTINCT s.seq) AS numbers, max(s.seq) AS last"
    " FROM samples s JOIN boxes b ON b.key = s.box_key GROUP BY b.id"
)
_FIRED: Final = (
    "SELECT a.box, s.seq FROM alerts a JOIN boxes b ON b.id = a.box"
    " LEFT JOIN samples s ON s.box_key = b.key AND s.time = a.started_at"
)
# Deliveries that have failed and wait for their next attempt. A receiver that fails on purpose has some.
_RETRYING: Final = "SELECT event_id FROM deliveries WHERE state = 'pending' AND attempt_count > 0"
_EVENTS: Final = "SELECT id FROM outbox WHERE type LIKE 'alert.%'"
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The amount of load.

    Attributes:
        samples_per_s: by MQTT.
        boxes: that send by MQTT; a quarter of them are registered with `ack`.
        http_boxes: that send by HTTP.
        calls_per_s: calls of `POST /v1/telemetry` a second, five samples each.
        reads_per_s: reads of the API a second.
        further_rules: conditions of rules that must evaluate every sample and do not fire.
        is_database_lost: whether the database is lost meanwhile. A webhook whose response was not recorded
            then is delivered again, with the same `webhook-id`.
    """

    samples_per_s: float = 1_000.0
    boxes: int = 200
    http_boxes: int = 10
    calls_per_s: float = 10.0
    reads_per_s: float = 10.0
    further_rules: tuple[dict[str, Any], ...] = ()
    is_database_lost: bool = False


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """The comparison of the load's ledger with the database and the received webhooks.

    Attributes:
        samples: samples sent.
        acknowledged: samples that an `ack` message named.
        alerts: alerts that had to fire.
        events: events of alerts in the outbox.
        lost: samples, alerts, events and `ack` messages that are missing.
        twice: samples, alerts and events that exist more than once.
        refused: calls and samples that were refused.
        sent_again: samples that arrived twice and were stored once.
        retrying: deliveries that the receiver failed on purpose, and that wait for their next attempt.
        delivered_again: deliveries that were repeated as their response was not recorded.
    """

    samples: int
    acknowledged: int
    alerts: int
    events: int
    lost: dict[str, int]
    twice: dict[str, int]
    refused: int
    sent_again: int
    retrying: int = 0
    delivered_again: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, refused or made twice."""
        return not self.refused and not any(self.lost.values()) and not any(self.twice.values())

    def __str__(self) -> str:
        return (
            f"{self.samples:,} samples, {self.acknowledged:,} `ack`s, {self.alerts:,} alerts,"
            f" {self.events:,} events; lost {_counts(self.lost)}; twice {_counts(self.twice)};"
            f" refused {self.refused}; sent again and stored once {self.sent_again};"
            f" waiting for a retry {self.retrying}; delivered again {self.delivered_again}"
        )


def _counts(parts: dict[str, int]) -> str:
    named = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return f"{sum(parts.values())}" + (f" ({named})" if named else "")


class CityLoad:
    """Puts load on one organisation, and compares its ledger with the outcome.

    Args:
        services: database, broker and processes.
        webhooks: the receiver of the alerts.
        plan: the amount of load.
    """

    def __init__(self, services: RehearsedServices, webhooks: WebhookLedger, plan: LoadPlan) -> None:
        self._services = services
        self._plan = plan
        self.webhooks = webhooks
        self.organisation = ""
        self.key = ""
        self.site = ""
        boxes = [f"city-{number:04}" for number in range(plan.boxes)]
        http_boxes = [f"http-{number:04}" for number in range(plan.http_boxes)]
        self.mqtt = MqttLoad(services.gateway, boxes, plan.boxes // 4, plan.samples_per_s)
        self.http = HttpLoad({}, [], http_boxes, plan.calls_per_s, plan.reads_per_s, [])

    async def set_up(self, address: str) -> None:
        """Create the organisation with all that it needs, through the API at this address."""
        async with ApiClient(address, self._services.admin_key, timeout_s=60.0) as admin:
            self.organisation = str((await admin.post("/v1/organisations", {"name": "Rehearsal"}))["id"])
            wanted = {"organisation_id": self.organisation, "name": "rehearsal", "scopes": ["*"]}
            self.key = str((await admin.post("/v1/api-keys", wanted))["key"])
            self.http.headers["Authorization"] = f"Bearer {self.key}"
        async with ApiClient(address, self.key, timeout_s=60.0) as client:
            self.site = str((await client.post("/v1/sites", _SITE))["id"])
            listed: list[dict[str, Any]] = [
                {"id": box, "site_id": self.site, "ack": index < self.mqtt.with_ack}
                for index, box in enumerate(self.mqtt.boxes)
            ]
            listed += [{"id": box, "site_id": self.site} for box in self.http.boxes]
            await client.post("/v1/boxes/bulk", {"boxes": listed})
            rule = {"site_id": self.site, "name": "Dust", "severity": "warning", "condition": RULE}
            await client.post("/v1/rules", rule)
            for number, condition in enumerate(self._plan.further_rules):
                further = {"site_id": self.site, "name": f"Further {number}", "severity": "info"}
                await client.post("/v1/rules", {**further, "condition": condition})
            self.webhooks.use_secret(
                str((await client.post("/v1/webhooks", {"url": self.webhooks.url}))["secret"])
            )
        self.http.addresses.append(address)
        box = self.mqtt.boxes[0]
        self.http.paths += [
            f"/v1/boxes/{box}/latest",
            "/v1/boxes?limit=100",
            f"/v1/sites/{self.site}/latest",
            "/v1/alerts?state=firing",
            f"/v1/boxes/{box}/readings?metric=pm2_5",
            "/v1/deliveries?limit=50",
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Put the load on for the length of a block, then wait for the last answers."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.mqtt.running())
            await stack.enter_async_context(self.http.running())
            yield

    @property
    def sent(self) -> int:
        """Samples sent by MQTT and HTTP."""
        return self.mqtt.total + sum(self.http.sent.values())

    async def drain(self) -> None:
        """Wait until all samples are stored and all events delivered, or for a minute."""

        async def is_done() -> bool:
            stored = await self._services.value("SELECT count(*) FROM samples")
            return stored == self.sent and await self._read_events() <= self.webhooks.handled.keys()

        try:
            await self._services.wait_for("all stored and delivered", is_done, _PATIENCE_S)
        except RehearsalError:
            return  # the comparison says what is missing

    async def _read_events(self) -> set[str]:
        """Return the ids of the messages that must have arrived by now."""
        events = {row["id"] for row in await self._services.rows(_EVENTS)}
        return {f"msg_{event.hex}" for event in events - await self._read_retrying()}

    async def _read_retrying(self) -> set[UUID]:
        if not self.webhooks.failing_share:
            return set()
        return {row["event_id"] for row in await self._services.rows(_RETRYING)}

    async def compare(self) -> LoadOutcome:
        """Compare the database and the received webhooks with the ledger."""
        expected = self.mqtt.sent | self.http.sent
        found = {row["id"]: row for row in await self._services.rows(_STORED)}
        stored = sum(row["rows"] for row in found.values())
        missing = sum(
            sent - (found[box]["numbers"] if box in found else 0) for box, sent in expected.items() if sent
        )
        surplus = sum(row["rows"] - row["numbers"] for row in found.values())
        totals = await self._services.rows(
            "SELECT sum(stored)::bigint AS stored, sum(duplicate)::bigint AS duplicate FROM ingest_totals"
        )
        lost_alerts, twice_alerts, alerts = await self._compare_alerts()
        events = len(await self._services.rows(_EVENTS))
        arrived = await self._read_events()
        changes = int(str(await self._services.value("SELECT coalesce(sum(sequence), 0) FROM alerts")))
        return LoadOutcome(
            samples=self.sent,
            acknowledged=self.mqtt.acknowledged,
            alerts=alerts,
            events=events,
            lost={
                "samples": missing,
                "`ack`s": self.mqtt.waiting,
                "alerts": lost_alerts,
                "events": max(0, changes - events),
                "deliveries": len(arrived - self.webhooks.handled.keys()),
            },
            twice={
                "samples": surplus + abs(totals[0]["stored"] - stored),
                "alerts": twice_alerts,
                "events": max(0, events - changes),
                "deliveries": 0 if self._plan.is_database_lost else self.webhooks.twice,
            },
            refused=len(self.http.refused) + self.mqtt.refused + self.webhooks.wrong,
            sent_again=totals[0]["duplicate"],
            retrying=events - len(arrived),
            delivered_again=self.webhooks.twice if self._plan.is_database_lost else 0,
        )

    async def _compare_alerts(self) -> tuple[int, int, int]:
        """Count missing alerts, surplus alerts, and those that had to fire."""
        indices = {box: index for index, box in enumerate(self.mqtt.boxes)}
        wanted = {
            (box, seq)
            for box, sent in self.mqtt.sent.items()
            for seq in range(sent)
            if is_alarm(indices[box], seq)
        }
        fired = [(row["box"], row["seq"]) for row in await self._services.rows(_FIRED)]
        there = set(fired)
        return len(wanted - there), len(fired) - len(wanted & there), len(wanted)
