"""A street with rules whose transitions a test makes up, and what the recorder writes of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.alerts.service import close_alerts
from app.alerts.silence_and_escalation_timers import run_alert_timers
from app.alerts.transition_recorder import record_transitions
from app.platform.db.database import Database
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.kernel.ids import new_id
from app.rules.engine.threshold_evaluator import (
    AlertTransition,
    CompiledRule,
    ConditionCause,
    compile_rule,
)
from tests.roles import working_as

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
START_US = 1_795_500_000_000_000
MINUTE = 60_000_000


def cause(value: float | None = 31.2, **other: Any) -> ConditionCause:  # noqa: ANN401 (fields of Cause)
    given: dict[str, Any] = {
        "metric": "pm2_5",
        "value": value,
        "threshold": 25.0,
        "clear": 20.0,
        "function": None,
        "window_us": None,
        "path": "levels/0/condition",
        "event": None,
        "boxes": (),
    }
    return ConditionCause(**given | other)


@dataclass
class AlertStory:
    """One alert, told by its transitions; minutes count from START_US."""

    rule: CompiledRule
    box_key: int | None
    alert_id: UUID = field(default_factory=new_id)
    sequence: int = 0

    def _step(
        self,
        kind: Any,  # noqa: ANN401 (a Literal of Transition)
        minute: float,
        severity: str | None,
        why: ConditionCause | None,
        reason: Any,  # noqa: ANN401 (the same)
    ) -> AlertTransition:
        self.sequence += 1
        at = START_US + round(minute * MINUTE)
        return AlertTransition(
            kind,
            None if reason == "rule_gone" else self.rule,
            self.rule.id,
            self.box_key,
            at,
            severity,
            why,
            at,
            self.alert_id,
            self.sequence,
            reason,
        )

    def fires(
        self, minute: float, severity: str = "warning", why: ConditionCause | None = None
    ) -> AlertTransition:
        return self._step("firing", minute, severity, why or cause(), "threshold")

    def rises(self, minute: float, severity: str, why: ConditionCause | None = None) -> AlertTransition:
        return self._step("changed", minute, severity, why or cause(99), "escalated")

    def falls(self, minute: float, severity: str, why: ConditionCause | None = None) -> AlertTransition:
        return self._step("changed", minute, severity, why or cause(26), "deescalated")

    def ends(
        self, minute: float, reason: str = "cleared", why: ConditionCause | None = None
    ) -> AlertTransition:
        return self._step("resolved", minute, None, why, reason)


@dataclass
class AlertStreet:
    """A site with two boxes and a rule, and a connection that plays the pipeline's part."""

    connection: asyncpg.Connection
    database: Database
    organisation_id: UUID
    site_id: UUID
    boxes: dict[int, str]
    rule: CompiledRule

    @property
    def first(self) -> int:
        return min(self.boxes)

    @property
    def second(self) -> int:
        return max(self.boxes)

    def story(self, box_key: int | None = -1, rule: CompiledRule | None = None) -> AlertStory:
        """A new alert, of the street's rule on its first box if nothing else is said."""
        return AlertStory(rule or self.rule, self.first if box_key == -1 else box_key)

    async def add_rule(self, name: str = "dust", **other: Any) -> CompiledRule:  # noqa: ANN401 (columns and parts of a definition)
        return await add_rule(self.connection, self.organisation_id, self.site_id, name, **other)

    async def batch(self, *transitions: AlertTransition) -> int:
        async with self.connection.transaction():
            return await self.play(*transitions)

    async def play(self, *transitions: AlertTransition) -> int:
        """Record transitions in the transaction that is open."""
        await pass_ingest_barrier(self.connection)
        return await record_transitions(self.connection, transitions, boxes=self.boxes, now=NOW)

    async def sweep(self) -> int:
        async with working_as("maintain", self.database) as opened:
            connection = await opened.connect()
            try:
                return await run_alert_timers(connection)
            finally:
                await connection.close()

    async def alerts(self) -> list[dict[str, Any]]:
        rows = [dict(row) for row in await self.connection.fetch("SELECT * FROM alerts ORDER BY id")]
        for row in rows:
            for name in ("cause", "suppressed", "escalations"):
                row[name] = None if row[name] is None else json.loads(row[name])
        return rows

    async def alert(self) -> dict[str, Any]:
        (only,) = await self.alerts()
        return only

    async def outbox(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.connection.fetch("SELECT type, payload::text FROM outbox ORDER BY position")
        return [(kind, json.loads(payload)) for kind, payload in rows]

    async def told(self) -> list[str]:
        return [kind.removeprefix("alert.") for kind, _ in await self.outbox()]

    async def timeline(self, alert_id: UUID) -> list[dict[str, Any]]:
        rows = await self.connection.fetch(
            "SELECT kind, at, severity, value, cause::text, actor, comment, data::text FROM alert_timeline "
            "WHERE alert_id = $1 ORDER BY position",
            alert_id,
        )
        return [
            dict(row) | {name: row[name] and json.loads(row[name]) for name in ("cause", "data")}
            for row in rows
        ]

    async def kinds(self, alert_id: UUID) -> list[str]:
        return [entry["kind"] for entry in await self.timeline(alert_id)]

    async def states(self) -> dict[int, dict[str, Any]]:
        rows = await self.connection.fetch("SELECT box_key, rules::text FROM box_states ORDER BY box_key")
        return {key: json.loads(rules) for key, rules in rows}

    async def silence(self, matchers: Mapping[str, Sequence[str]], **other: Any) -> UUID:  # noqa: ANN401 (columns)
        """A silence in force since an hour ago, until in an hour."""
        identifier = new_id()
        await self.connection.execute(
            "INSERT INTO silences (id, organisation_id, matchers, starts_at, ends_at, author, comment, "
            "created_at, updated_at) VALUES ($1, $2, $3::text::jsonb, now() - interval '1 hour', "
            "now() + interval '1 hour', 'tests', 'works', now(), now())",
            identifier,
            other.get("organisation_id", self.organisation_id),
            json.dumps(matchers),
        )
        return identifier

    async def inhibit(
        self, source: Mapping[str, Sequence[str]], target: Mapping[str, Sequence[str]], *equal: str
    ) -> UUID:
        identifier = new_id()
        await self.connection.execute(
            "INSERT INTO inhibitions (id, organisation_id, name, source, target, equal, created_at, "
            "updated_at) VALUES ($1, $2, 'i', $3::text::jsonb, $4::text::jsonb, $5, now(), now())",
            identifier,
            self.organisation_id,
            json.dumps(source),
            json.dumps(target),
            list(equal),
        )
        return identifier

    async def end_silences(self) -> None:
        await self.connection.execute("UPDATE silences SET ends_at = now()")

    async def let_pass(self, minutes: float) -> None:
        """Have what is due become due as if so much time had passed."""
        await self.connection.execute(
            "UPDATE alerts SET escalate_at = escalate_at - $1 * interval '1 minute', "
            "remind_at = remind_at - $1 * interval '1 minute'",
            minutes,
        )

    async def close(self, **which: Any) -> int:  # noqa: ANN401 (the arguments of close_alerts)
        async with self.database.write() as session:
            return await close_alerts(session, now=NOW, **which)


async def add_rule(
    connection: asyncpg.Connection,
    organisation_id: UUID,
    site_id: UUID,
    name: str = "dust",
    **other: Any,  # noqa: ANN401 (columns and parts of a definition)
) -> CompiledRule:
    """A rule with one level, stored and compiled."""
    rule_id = new_id()
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT0S"}
    definition = {
        "levels": [{"severity": other.get("severity", "warning"), "condition": condition}],
        "scope": None,
        "active": None,
        "max_age": "PT1H",
        "escalations": other.get("escalations", []),
        "remind_every": other.get("remind_every"),
    }
    dry_run = other.get("dry_run", False)
    await connection.execute(
        "INSERT INTO rules (id, organisation_id, site_id, name, description, severity, definition, enabled, "
        "dry_run, version, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, true, $8, 4, $9, $9)",
        rule_id,
        organisation_id,
        site_id,
        name,
        other.get("description"),
        other.get("severity", "warning"),
        json.dumps(definition),
        dry_run,
        NOW,
    )
    return compile_rule(
        id=rule_id,
        version=4,
        organisation_id=organisation_id,
        site_id=site_id,
        name=name,
        definition=definition,
        dry_run=dry_run,
    )


async def make_street(
    database: Database, connection: asyncpg.Connection, prefix: str = "alerts"
) -> AlertStreet:
    """An organisation of its own, with one site, two boxes and one rule."""
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
    for name in (f"{prefix}-1", f"{prefix}-2"):
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
    rule = await add_rule(connection, organisation_id, site_id)
    return AlertStreet(connection, database, organisation_id, site_id, boxes, rule)
