"""What a transaction of samples writes of alerts, and what closing them leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.alerts.recorder import record
from app.alerts.service import close_alerts
from app.core.database import Database
from app.core.gate import pass_gate
from app.core.ids import new_id
from app.core.instants import to_datetime
from app.observations.states import BoxStates
from app.rules.evaluator import SiteRules, Transition, compile_rule, compile_site, evaluate_box
from app.rules.repository import load_changed
from app.sites.catalogue import COLUMNS, INDEX

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
START_US = 1_795_500_000_000_000
MINUTE = 60_000_000


@dataclass
class Street:
    """A site with two boxes and a rule, and a connection that plays the pipeline's part."""

    connection: asyncpg.Connection
    database: Database
    organisation_id: UUID
    site_id: UUID
    boxes: dict[int, str]
    rule_id: UUID

    @property
    def first(self) -> int:
        return min(self.boxes)

    async def rules(self) -> SiteRules:
        return compile_site(
            [
                compile_rule(
                    id=row["id"],
                    version=row["version"],
                    organisation_id=row["organisation_id"],
                    site_id=row["site_id"],
                    name=row["name"],
                    severity=row["severity"],
                    condition=row["condition"],
                )
                for row in await load_changed(self.connection, 0)
                if row["enabled"] and not row["deleted"]
            ]
        )

    async def play(
        self, box_key: int, samples: Sequence[tuple[int, float]], site: SiteRules | None = None
    ) -> list[Transition]:
        """Evaluate, remember and record (minute, value) samples, in the transaction that is open."""
        await pass_gate(self.connection)
        states = BoxStates()
        await states.recall(self.connection, [box_key], lock=True)
        slot = states.slots[box_key]
        site = await self.rules() if site is None else site
        rows = []
        for minute, value in samples:
            row: list[float | None] = [None] * len(COLUMNS)
            row[INDEX["pm2_5"]] = value
            rows.append((START_US + minute * MINUTE, tuple(row)))
        marks = states.settle(slot)
        found, changed = evaluate_box(site, states.rules[slot], marks, rows, box_key, new_id)
        states.advance_slowly(slot, rows, len(rows), START_US)
        if changed:
            states.rules_changed(slot)
        await states.save(self.connection, START_US)
        await record(self.connection, found, boxes=self.boxes, now=NOW)
        return found

    async def batch(self, box_key: int, samples: Sequence[tuple[int, float]]) -> list[Transition]:
        async with self.connection.transaction():
            return await self.play(box_key, samples)

    async def alerts(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.connection.fetch("SELECT * FROM alerts ORDER BY id")]

    async def outbox(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.connection.fetch("SELECT type, payload::text FROM outbox ORDER BY position")
        return [(kind, json.loads(payload)) for kind, payload in rows]

    async def states(self) -> dict[int, dict[str, Any]]:
        rows = await self.connection.fetch("SELECT box_key, rules::text FROM box_states ORDER BY box_key")
        return {key: json.loads(rules) for key, rules in rows}

    async def close(self, **which: Any) -> int:  # noqa: ANN401 (the arguments of close_alerts)
        async with self.database.write() as session:
            return await close_alerts(session, now=NOW, **which)


async def add_rule(connection: asyncpg.Connection, organisation_id: UUID, site_id: UUID, wait: str) -> UUID:
    rule_id = new_id()
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": wait}
    await connection.execute(
        "INSERT INTO rules (id, organisation_id, site_id, name, severity, condition, enabled, version, "
        "created_at, updated_at) VALUES ($1, $2, $3, 'dust', 'warning', $4::text::jsonb, true, 4, $5, $5)",
        rule_id,
        organisation_id,
        site_id,
        json.dumps(condition),
        NOW,
    )
    return rule_id


@pytest_asyncio.fixture
async def street(database: Database) -> AsyncIterator[Street]:
    connection = await database.connect()
    organisation_id, site_id = new_id(), new_id()
    await connection.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'o', $2, $2)",
        organisation_id,
        NOW,
    )
    await connection.execute(
        "INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at, "
        "updated_at) VALUES ($1, $2, 's', 'street', 'Europe/Paris', 1.4, 43.6, $3, $3)",
        site_id,
        organisation_id,
        NOW,
    )
    boxes = {}
    for name in ("alerts-1", "alerts-2"):
        key = await connection.fetchval(
            "INSERT INTO boxes (id, organisation_id, site_id, interval_s, ack, password_hash, created_at, "
            "updated_at) VALUES ($1, $2, $3, 60, false, '', $4, $4) RETURNING key",
            name,
            organisation_id,
            site_id,
            NOW,
        )
        await connection.execute("INSERT INTO box_states (box_key) VALUES ($1)", key)
        boxes[key] = name
    rule_id = await add_rule(connection, organisation_id, site_id, "PT0S")
    yield Street(connection, database, organisation_id, site_id, boxes, rule_id)
    await connection.close()


async def test_an_alert_fires_and_resolves_over_two_batches(street: Street) -> None:
    (fired,) = await street.batch(street.first, [(1, 31.2)])
    (alert,) = await street.alerts()
    started = to_datetime(START_US + MINUTE)
    assert alert == {
        "id": fired.alert_id,
        "organisation_id": street.organisation_id,
        "rule_id": street.rule_id,
        "rule_version": 4,
        "site_id": street.site_id,
        "box_key": street.first,
        "box": "alerts-1",
        "metric": "pm2_5",
        "severity": "warning",
        "state": "firing",
        "value": 31.2,
        "threshold": 25.0,
        "clear": 20.0,
        "resolved_value": None,
        "pending_since": started,
        "started_at": started,
        "resolved_at": None,
        "resolution": None,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "sequence": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    await street.batch(street.first, [(2, 22), (3, 19.5)])
    (alert,) = await street.alerts()
    assert (alert["state"], alert["resolution"], alert["sequence"]) == ("resolved", "cleared", 2)
    assert (alert["value"], alert["resolved_value"]) == (31.2, 19.5)
    assert alert["resolved_at"] == to_datetime(START_US + 3 * MINUTE)
    assert (await street.states())[street.first] == {}


async def test_each_transition_is_told_once_with_what_a_receiver_needs(street: Street) -> None:
    await street.batch(street.first, [(1, 31.2)])
    await street.batch(street.first, [(2, 19.5)])
    (first, firing), (second, resolved) = await street.outbox()
    assert (first, second) == ("alert.firing", "alert.resolved")
    (alert,) = await street.alerts()
    common = {
        "alert_id": str(alert["id"]),
        "rule_id": str(street.rule_id),
        "rule_name": "dust",
        "rule_version": 4,
        "organisation_id": str(street.organisation_id),
        "site_id": str(street.site_id),
        "box": "alerts-1",
        "metric": "pm2_5",
        "value": 31.2,
        "threshold": 25.0,
        "clear": 20.0,
        "severity": "warning",
        "pending_since": "2026-11-24T06:01:00Z",
        "started_at": "2026-11-24T06:01:00Z",
        "acknowledged_at": None,
    }
    assert firing == {
        **common,
        "state": "firing",
        "resolved_at": None,
        "resolved_value": None,
        "resolution": None,
        "sequence": 1,
    }
    assert resolved == {
        **common,
        "state": "resolved",
        "resolved_at": "2026-11-24T06:02:00Z",
        "resolved_value": 19.5,
        "resolution": "cleared",
        "sequence": 2,
    }


async def test_one_batch_may_hold_a_whole_life_and_the_next(street: Street) -> None:
    await street.batch(street.first, [(1, 30)])
    await street.batch(street.first, [(2, 10), (3, 40), (4, 10), (5, 50)])
    alerts = await street.alerts()
    assert [(alert["value"], alert["state"], alert["sequence"]) for alert in alerts] == [
        (30, "resolved", 2),
        (40, "resolved", 2),
        (50, "firing", 1),
    ]
    assert [(kind, told["value"], told["sequence"]) for kind, told in await street.outbox()] == [
        ("alert.firing", 30, 1),
        ("alert.resolved", 30, 2),
        ("alert.firing", 40, 1),
        ("alert.resolved", 40, 2),
        ("alert.firing", 50, 1),
    ]


async def test_a_batch_that_is_rolled_back_leaves_nothing(street: Street) -> None:
    transaction = street.connection.transaction()
    await transaction.start()
    assert len(await street.play(street.first, [(1, 30)])) == 1
    await transaction.rollback()
    assert await street.alerts() == []
    assert await street.outbox() == []
    await street.batch(street.first, [(1, 30)])
    assert len(await street.alerts()) == 1


async def test_an_alert_whose_state_was_lost_gives_way_to_the_next(street: Street) -> None:
    await street.batch(street.first, [(1, 30)])
    await street.connection.execute("UPDATE box_states SET rules = '{}'")
    await street.batch(street.first, [(2, 40)])
    old, new = await street.alerts()
    assert (old["state"], old["resolution"], old["sequence"]) == ("resolved", "superseded", 2)
    assert old["resolved_at"] == new["started_at"]
    assert new["state"] == "firing"
    assert [kind for kind, _ in await street.outbox()] == ["alert.firing", "alert.resolved", "alert.firing"]


async def test_a_rule_that_was_taken_away_meanwhile_fires_no_more(street: Street) -> None:
    known = await street.rules()
    await street.connection.execute("UPDATE rules SET deleted_at = now()")
    async with street.connection.transaction():
        assert len(await street.play(street.first, [(1, 30)], known)) == 1
    assert await street.alerts() == []
    assert await street.outbox() == []
    # What it left in the state goes with the next sample, and has nothing to close.
    (gone,) = await street.batch(street.first, [(2, 30)])
    assert gone.reason == "rule_gone"
    assert await street.states() == {key: {} for key in street.boxes}
    assert await street.outbox() == []


async def test_an_alert_of_a_rule_that_no_longer_applies_resolves(street: Street) -> None:
    await street.batch(street.first, [(1, 30)])
    async with street.connection.transaction():
        await street.play(street.first, [(2, 30)], compile_site([]))
    (alert,) = await street.alerts()
    assert (alert["state"], alert["resolution"], alert["resolved_value"]) == ("resolved", "rule_gone", None)
    assert [kind for kind, _ in await street.outbox()] == ["alert.firing", "alert.resolved"]


async def test_many_alerts_take_a_handful_of_statements(street: Street) -> None:
    for _ in range(39):
        await add_rule(street.connection, street.organisation_id, street.site_id, "PT0S")
    statements: list[str] = []
    street.connection.add_query_logger(lambda query: statements.append(query.query))
    async with street.connection.transaction():
        await street.play(street.first, [(1, 30), (2, 10), (3, 30)])
        await street.play(max(street.boxes), [(1, 30)])
    assert len(await street.alerts()) == 40 * 3
    assert len(await street.outbox()) == 40 * 4
    assert sum("alerts" in query or "outbox" in query for query in statements) < 12


async def test_closing_a_rules_alerts_resolves_them_and_forgets_its_state_alone(street: Street) -> None:
    other = await add_rule(street.connection, street.organisation_id, street.site_id, "PT0S")
    waiting = await add_rule(street.connection, street.organisation_id, street.site_id, "PT1H")
    for key in street.boxes:
        await street.batch(key, [(1, 30)])
    assert await street.close(reason="rule_deleted", rule_id=street.rule_id) == 2
    assert await street.close(reason="rule_deleted", rule_id=waiting) == 0
    closed = [alert for alert in await street.alerts() if alert["rule_id"] == street.rule_id]
    assert {(alert["state"], alert["resolution"], alert["sequence"]) for alert in closed} == {
        ("resolved", "rule_deleted", 2)
    }
    assert {alert["resolved_at"] for alert in closed} == {NOW}
    assert {alert["state"] for alert in await street.alerts() if alert["rule_id"] == other} == {"firing"}
    assert [set(state) for state in (await street.states()).values()] == [{str(other)}, {str(other)}]
    told = [told for kind, told in await street.outbox() if kind == "alert.resolved"]
    assert [(one["box"], one["resolution"], one["resolved_at"]) for one in told] == [
        ("alerts-1", "rule_deleted", "2026-11-24T12:00:00Z"),
        ("alerts-2", "rule_deleted", "2026-11-24T12:00:00Z"),
    ]


async def test_closing_a_boxs_alerts_puts_it_to_rest(street: Street) -> None:
    await add_rule(street.connection, street.organisation_id, street.site_id, "PT1H")
    for key in street.boxes:
        await street.batch(key, [(1, 30)])
    first, second = street.boxes
    assert await street.close(reason="box_deleted", box_key=first) == 1
    assert {alert["box_key"]: alert["state"] for alert in await street.alerts()} == {
        first: "resolved",
        second: "firing",
    }
    states = await street.states()
    assert states[first] == {}
    assert len(states[second]) == 2
    assert await street.close(reason="rule_deleted", rule_id=street.rule_id, box_key=first) == 0
    assert await street.close(reason="rule_deleted", rule_id=street.rule_id, box_key=second) == 1


async def test_an_alert_does_not_end_before_it_began(street: Street) -> None:
    ahead = NOW + timedelta(minutes=10)
    await street.batch(street.first, [((round(ahead.timestamp()) * 1_000_000 - START_US) // MINUTE, 30)])
    assert await street.close(reason="rule_changed", rule_id=street.rule_id) == 1
    (alert,) = await street.alerts()
    assert alert["resolved_at"] == alert["started_at"] == ahead


async def test_closing_needs_a_rule_or_a_box(street: Street) -> None:
    with pytest.raises(ValueError, match="a rule or a box"):
        await street.close(reason="rule_deleted")


async def test_closing_waits_for_a_batch_under_way_and_closes_what_it_fired(street: Street) -> None:
    """The box was at rest when the rule went; the batch knew the rule, and fires all the same."""
    async with street.connection.transaction():
        await pass_gate(street.connection)
        closing = asyncio.create_task(street.close(reason="rule_deleted", rule_id=street.rule_id))
        await asyncio.sleep(0.3)
        assert not closing.done()
        await street.play(street.first, [(1, 30)])
    assert await asyncio.wait_for(closing, 10) == 1
    (alert,) = await street.alerts()
    assert (alert["state"], alert["resolution"]) == ("resolved", "rule_deleted")
    assert (await street.states())[street.first] == {}
