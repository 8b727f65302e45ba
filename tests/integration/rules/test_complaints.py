"""What users of other systems complain of, played through the real pipeline: none of it happens here.

Which complaint is which, and who made it, is told in docs/rules.md.
"""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from app.alerts.silence_and_escalation_timers import run_alert_timers
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from tests.conftest import Tenant

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
BOX = "box-0001"
DUST = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
type Sample = tuple[float | datetime, Mapping[str, float]]


def time_of(when: float | datetime) -> datetime:
    return when if isinstance(when, datetime) else START + timedelta(minutes=when)


def at(when: float | datetime) -> str:
    return time_of(when).astimezone(UTC).isoformat().replace("+00:00", "Z")


class Street:
    """A site with one box, a consumer that can die, and what endpoints would be told."""

    def __init__(self, tenant: Tenant, site_id: str, connection: asyncpg.Connection) -> None:
        self.client = tenant.client
        self.site_id = site_id
        self.connection = connection
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)

    def die(self) -> None:
        """The consumer is killed, and another one takes its place: nothing was written back."""
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)

    async def rule(self, condition: Mapping[str, Any] | None = None, **other: Any) -> str:  # noqa: ANN401 (as JSON)
        body = {"site_id": self.site_id, "name": "Dust", **other}
        if condition is not None:
            body = {"severity": "warning", "condition": condition, **body}
        made = await self.client.post("/v1/rules", json=body)
        assert made.status_code == 201, made.text
        identifier: str = made.json()["id"]
        return identifier

    async def send(self, *samples: Sample) -> BatchReceipt:
        """Samples in one batch, by minutes from START or by their own times."""
        topics = [f"vigie/v1/{BOX}/telemetry"] * len(samples)
        bodies = [json.dumps({"time": at(when), "values": values}).encode() for when, values in samples]
        now = datetime.now(UTC)
        intake = decode_batch(topics, bodies, now_us=from_datetime(now), max_future_us=0)
        assert not intake.rejections
        return await self.consumer.commit(self.connection, intake, now=now)

    async def dust(self, *samples: tuple[float | datetime, float]) -> BatchReceipt:
        return await self.send(*((when, {"pm2_5": value}) for when, value in samples))

    async def tick(self, when: float | datetime) -> None:
        """Nothing came, and the clock is there."""
        await self.consumer.run_due_timers(self.connection, now=time_of(when))

    async def alerts(self) -> list[dict[str, Any]]:
        """The oldest first."""
        answer = (await self.client.get("/v1/alerts")).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]
        return found[::-1]

    async def alert(self) -> dict[str, Any]:
        (only,) = await self.alerts()
        return only

    async def told(self) -> list[str]:
        rows = await self.connection.fetch("SELECT type FROM outbox ORDER BY position")
        return [kind.removeprefix("alert.") for (kind,) in rows]

    async def bodies(self) -> list[dict[str, Any]]:
        rows = await self.connection.fetch("SELECT payload::text FROM outbox ORDER BY position")
        return [json.loads(payload) for (payload,) in rows]


@pytest.fixture
async def street(database: Database, tenant: Tenant, site_id: str) -> AsyncIterator[Street]:
    body = {"id": BOX, "site_id": site_id, "interval_s": 60}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    connection = await database.connect()
    yield Street(tenant, site_id, connection)
    connection.terminate()


async def test_a_value_that_swings_about_its_threshold_makes_one_alert(street: Street) -> None:
    await street.rule(DUST)
    for minute in range(40):
        await street.dust((minute, 25.1 if minute % 2 else 24.9))
    assert await street.told() == ["firing"]
    await street.dust((40, 19.9), (41, 25.1))
    assert await street.told() == ["firing", "resolved", "firing"]


async def test_one_that_falls_and_rises_again_can_be_kept_firing(street: Street) -> None:
    await street.rule(DUST | {"keep_firing_for": "PT10M"})
    for minute in range(0, 60, 2):
        await street.dust((minute, 40), (minute + 1, 5))
    assert await street.told() == ["firing"]
    await street.dust((70, 5))
    assert (await street.alert())["resolved_at"] == at(70)


@pytest.mark.parametrize("condition", [DUST, {"all": [DUST, {"not": {"event": "tamper"}}]}])
async def test_data_that_go_missing_resolve_nothing(street: Street, condition: dict[str, Any]) -> None:
    await street.rule(condition)
    await street.dust((0, 40))
    # Its dust sensor is dead, then all of it; the consumer looks after it now and then.
    await street.send(*((minute, {"laeq": 50}) for minute in range(1, 180)))
    for hour in range(4, 24, 5):
        await street.tick(hour * 60)
    assert (await street.alert())["state"] == "firing"
    assert await street.told() == ["firing"]
    await street.dust((24 * 60, 19))
    assert (await street.alert())["resolved_at"] == at(24 * 60)


@pytest.mark.parametrize(
    "condition",
    [DUST | {"for": "PT10M"}, DUST | {"function": "mean", "window": "PT10M"}],
    ids=["wait", "window"],
)
async def test_late_samples_neither_begin_nor_end_nor_stretch_anything(
    street: Street, condition: dict[str, Any]
) -> None:
    await street.rule(condition)
    late = 0
    for minute in range(5, 15):
        await street.dust((minute, 30))
        # Held up on their way: clean air, which would end the wait, and a peak, which would shorten it.
        late += (await street.dust((minute - 4.5, 0), (minute - 4.25, 900))).late
    assert late == 20
    await street.dust((15, 30))
    await street.dust((13.5, 5), (14.5, 5))
    alert = await street.alert()
    assert (alert["state"], alert["value"]) == ("firing", 30)
    # The window speaks once the values that were on time reach over three quarters of it.
    begun = (at(5), at(15)) if "for" in condition else (at(12), at(12))
    assert (alert["pending_since"], alert["started_at"]) == begun


async def test_a_box_that_sends_hours_at_once_has_its_alerts_at_its_own_times(street: Street) -> None:
    await street.rule(DUST | {"for": "PT5M"})
    values = {minute: 40 if minute % 30 < 10 else 5 for minute in range(120)}
    await street.dust(*values.items())
    assert [
        (alert["pending_since"], alert["started_at"], alert["resolved_at"]) for alert in await street.alerts()
    ] == [(at(begin), at(begin + 5), at(begin + 10)) for begin in (0, 30, 60, 90)]
    # Told in the order in which it happened.
    assert await street.told() == ["firing", "resolved"] * 4
    times = [body["resolved_at"] or body["started_at"] for body in await street.bodies()]
    assert times == sorted(times)


async def test_one_metric_that_goes_quiet_is_noticed_while_its_box_lives(street: Street) -> None:
    await street.rule({"no_data": "PT15M", "metric": "pm2_5"})
    await street.send((0, {"pm2_5": 10, "laeq": 50}))
    for minute in range(1, 20):
        await street.send((minute, {"laeq": 50}))
    silent = await street.alert()
    # When it was due, and not when somebody came by.
    assert (silent["started_at"], silent["metric"]) == (at(15), "pm2_5")
    await street.send((20, {"pm2_5": 10}))
    assert (await street.alert())["resolved_at"] == at(20)


async def test_a_rule_on_trial_wakes_nobody_and_its_alerts_can_be_read(street: Street) -> None:
    await street.rule(DUST, dry_run=True, remind_every="PT1M")
    await street.dust((0, 40), (1, 5), (2, 40))
    trial = (await street.client.get("/v1/alerts", params={"dry_run": "true"})).json()["data"]
    assert [alert["state"] for alert in trial] == ["firing", "resolved"]
    await run_alert_timers(street.connection)
    assert await street.alerts() == []
    assert await street.told() == []


async def test_a_consumer_that_dies_forgets_no_wait_and_fires_nothing_again(street: Street) -> None:
    await street.rule(DUST | {"for": "PT10M"})
    for minute in range(12):
        await street.dust((minute, 30))
        street.die()
    alert = await street.alert()
    assert (alert["pending_since"], alert["started_at"]) == (at(0), at(10))
    await street.tick(13)
    street.die()
    await street.dust((13, 30))
    assert await street.alert() == alert | {"current_time": at(13)}
    assert await street.told() == ["firing"]


async def test_a_batch_that_comes_again_tells_nothing_twice(street: Street) -> None:
    await street.rule(DUST)
    batch: list[Sample] = [(minute, {"pm2_5": value}) for minute, value in enumerate((40, 5, 40))]
    given = [{"time": at(when), "values": dict(values)} for when, values in batch]
    await street.send(*batch)
    # The broker lost the acknowledgement; then another consumer; then the other door.
    await street.send(*batch)
    street.die()
    await street.send(*batch)
    answer = await street.client.post("/v1/telemetry", json={"box": BOX, "samples": given})
    assert answer.json()["duplicate"] == 3
    assert await street.told() == ["firing", "resolved", "firing"]
    events = [(body["alert_id"], body["sequence"]) for body in await street.bodies()]
    assert len(set(events)) == 3


async def test_an_end_is_told_exactly_when_the_beginning_was(street: Street) -> None:
    rule = await street.rule(DUST)
    silence = {"matchers": {"rule_ids": [rule]}, "comment": "works"}

    async def silenced() -> str:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        made = await street.client.post("/v1/silences", json=silence | {"ends_at": until})
        return f"/v1/silences/{made.raise_for_status().json()['id']}/expire"

    await silenced()
    await street.dust((0, 40), (1, 5))
    muted = await street.alert()
    assert (muted["state"], muted["notified"]) == ("resolved", False)
    assert await street.told() == []
    for each in (await street.client.get("/v1/silences")).json()["data"]:
        (await street.client.post(f"/v1/silences/{each['id']}/expire")).raise_for_status()
    await street.dust((2, 40))
    expire = await silenced()
    await run_alert_timers(street.connection)
    await street.dust((3, 5))
    # The end of what everybody had heard of comes through a silence.
    assert await street.told() == ["firing", "resolved"]
    await street.dust((4, 40))
    assert await street.told() == ["firing", "resolved"]
    await street.client.post(expire)
    await run_alert_timers(street.connection)
    # And what was muted when it fired, and fires still, is told once nothing mutes it.
    assert await street.told() == ["firing", "resolved", "firing"]


@pytest.mark.parametrize(
    ("evening", "hours"), [(date(2026, 3, 28), 7), (date(2025, 10, 25), 9)], ids=["spring", "autumn"]
)
async def test_a_night_is_from_ten_to_six_on_the_clocks_of_the_site(
    street: Street, evening: date, hours: int
) -> None:
    await street.rule(DUST, active=[{"from": "22:00", "to": "06:00"}])
    begin, end = (
        datetime.combine(day, time(hour), ZoneInfo("Europe/Paris"))
        for day, hour in ((evening, 22), (evening + timedelta(days=1), 6))
    )
    first = begin.astimezone(UTC) - timedelta(hours=3)
    for hour in range(15):
        await street.dust(*((first + timedelta(hours=hour, minutes=minute), 40) for minute in (0, 20, 40)))
    alert = await street.alert()
    assert (alert["started_at"], alert["resolved_at"]) == (at(begin), at(end))
    assert alert["resolution"] == "out_of_hours"
    elapsed = datetime.fromisoformat(alert["resolved_at"]) - datetime.fromisoformat(alert["started_at"])
    assert elapsed == timedelta(hours=hours)


async def test_an_acknowledgement_is_of_one_alert_and_of_what_it_said(street: Street) -> None:
    grave = DUST | {"threshold": 50, "clear": 45}
    levels = [{"severity": "warning", "condition": DUST}, {"severity": "critical", "condition": grave}]
    await street.rule(levels=levels)
    await street.dust((0, 40))
    first = await street.alert()
    taken = (await street.client.post(f"/v1/alerts/{first['id']}/acknowledge")).raise_for_status().json()
    await street.dust((1, 30), (2, 40))
    assert (await street.alert())["acknowledged_at"] == taken["acknowledged_at"]
    # Something milder was acknowledged.
    await street.dust((3, 60))
    assert (await street.alert())["acknowledged_at"] is None
    await street.client.post(f"/v1/alerts/{first['id']}/acknowledge")
    await street.dust((4, 5), (5, 40))
    old, new = await street.alerts()
    assert (old["state"], old["acknowledged_at"] is not None) == ("resolved", True)
    assert (new["state"], new["acknowledged_at"], new["id"] != first["id"]) == ("firing", None, True)
    assert (await street.told())[-2:] == ["resolved", "firing"]


async def test_one_alert_goes_up_and_down_with_its_value(street: Street) -> None:
    levels = [
        {"severity": severity, "condition": DUST | {"threshold": threshold, "clear": threshold - 5}}
        for severity, threshold in (("info", 25), ("warning", 50), ("critical", 100))
    ]
    await street.rule(levels=levels)
    await street.dust(*enumerate((30, 60, 120, 97, 60, 30, 5)))
    alert = await street.alert()
    assert (alert["started_at"], alert["resolved_at"]) == (at(0), at(6))
    assert await street.told() == [
        "firing",
        "escalated",
        "escalated",
        "deescalated",
        "deescalated",
        "resolved",
    ]
    assert [(body["severity"], body.get("previous_severity")) for body in await street.bodies()][1:5] == [
        ("warning", "info"),
        ("critical", "warning"),
        ("warning", "critical"),
        ("info", "warning"),
    ]


async def test_what_a_rule_fired_ends_with_it_and_says_for_ever_what_it_was(street: Street) -> None:
    rule = await street.rule(DUST, description="Close the windows")
    path = f"/v1/rules/{rule}"
    await street.dust((0, 40.5))
    await street.client.patch(path, json={"condition": DUST | {"threshold": 30, "clear": 28}})
    await street.dust((1, 41.5))
    await street.client.delete(path)
    await street.dust((2, 42.5))
    first, second = await street.alerts()
    for alert, resolution, version, value, threshold in (
        (first, "rule_changed", 1, 40.5, 25),
        (second, "rule_deleted", 2, 41.5, 30),
    ):
        assert (alert["state"], alert["resolution"]) == ("resolved", resolution)
        assert (alert["rule_version"], alert["value"], alert["threshold"]) == (version, value, threshold)
        was = (await street.client.get(f"{path}/versions/{version}")).raise_for_status().json()
        assert was["condition"]["threshold"] == threshold
        timeline = (await street.client.get(f"/v1/alerts/{alert['id']}/timeline")).json()["data"]
        assert [entry["kind"] for entry in timeline] == ["fired", "resolved"]
        assert timeline[0]["cause"]["value"] == value
    bodies = await street.bodies()
    assert await street.told() == ["firing", "resolved"] * 2
    assert [body["value"] for body in bodies] == [40.5, 40.5, 41.5, 41.5]


async def test_a_mean_of_a_few_values_is_no_mean(street: Street) -> None:
    mean = DUST | {"function": "mean", "window": "PT1H"}
    await street.rule(mean)
    sure = await street.rule(mean | {"coverage": 75})
    # After a night of silence one peak, and then clean air: their mean is far above 25.
    await street.dust((0, 1), (600, 900), (601, 5), (602, 5))
    assert await street.alerts() == []
    # Values of three quarters of the hour speak for it, but one in five minutes is not what was promised.
    await street.dust(*((minute, 30) for minute in range(605, 660, 5)))
    assert (await street.alert())["rule_id"] != sure
    await street.dust(*((minute, 30) for minute in range(660, 740)))
    assert sure in {alert["rule_id"] for alert in await street.alerts()}


async def test_decibels_are_averaged_by_energy_or_not_at_all(street: Street) -> None:
    loud = {"metric": "laeq", "operator": ">", "threshold": 70, "window": "PT10M"}
    body = {"site_id": street.site_id, "name": "n", "severity": "info"}
    refused = await street.client.post("/v1/rules", json=body | {"condition": loud | {"function": "mean"}})
    assert refused.json()["code"] == "arithmetic_mean_of_decibels"
    await street.rule(loud | {"function": "energy_mean"})
    # One minute of 90 dB among seven of 50: 55 dB in arithmetic, 81 for the ear.
    await street.send(*((minute, {"laeq": 90 if minute == 5 else 50}) for minute in range(8)))
    assert (await street.alert())["value"] == pytest.approx(81, abs=0.1)
