"""Applies the decisions of the rule evaluator (fire, change severity, resolve) to alerts. Pure.

The evaluator decides whether a rule fires, and `app.alerts.muting_queries` which alerts are muted.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.alerts.alert_events import ACKNOWLEDGEMENT_COLUMNS, REASON_SAMPLES, AlertEventType, build_alert_event
from app.alerts.alert_row_writer import AlertRow
from app.alerts.timeline_writer import NewTimelineEntry, TimelineKind
from app.notifications.events.outbox import OutboxRecord
from app.platform.kernel.instants import US_PER_S, format_us, to_datetime
from app.rules.definitions.severity import find_highest_severity, rank_severity
from app.rules.engine.threshold_evaluator import AlertTransition, CompiledRule, ConditionCause


class TransitionApplier:
    """Applies the transitions of one batch, in order, to the alerts that they concern.

    Args:
        known: locked rows of existing alerts, each with `rule_name`: those that transitions name, and those
            that already fire for the same rule and box.
        descriptions: the description of each rule that may fire.
        boxes: the id of each box by its key, including boxes in causes.
        now: the current time, aware.
        clock: the current time of the database's clock.
    """

    def __init__(
        self,
        known: Iterable[AlertRow],
        descriptions: Mapping[UUID, str | None],
        boxes: Mapping[int, str],
        now: datetime,
        clock: datetime,
    ) -> None:
        self.rows = {row["id"]: row for row in known}
        self.new: dict[UUID, AlertRow] = {}
        self.changed: dict[UUID, AlertRow] = {}
        self.entries: list[NewTimelineEntry] = []
        self._descriptions = descriptions
        self._boxes = boxes
        self._now = now
        self._clock = clock
        self._firing = {
            (row["rule_id"], row["box_key"]): row for row in self.rows.values() if row["state"] == "firing"
        }
        self._notified_before = {identifier: row["told_severity"] for identifier, row in self.rows.items()}
        self._events: list[tuple[AlertRow, OutboxRecord]] = []

    def apply(self, step: AlertTransition) -> None:
        """Apply a transition. If its alert is missing or resolved, nothing changes."""
        if step.kind == "firing":
            self._fire(step)
            return
        row = self.rows.get(step.alert_id)
        if row is None or row["state"] != "firing":
            return
        if step.kind == "changed":
            self._change(row, step)
        else:
            self._resolve(row, to_datetime(step.time_us), step.reason, step.cause)

    def find_mute_candidates(self) -> list[UUID]:
        """Find the alerts that silences or inhibitions may mute now: new and changed firing ones."""
        changed_firing = (row for row in self.changed.values() if row["state"] == "firing")
        return [
            row["id"]
            for row in (*self.new.values(), *changed_firing)
            if not row["dry_run"] and row["suppressed"] is None
        ]

    def mute(self, muted: Mapping[UUID, dict[str, Any]]) -> list[AlertRow]:
        """Mute alerts; returns their rows.

        Args:
            muted: `suppressed` of each alert to mute.
        """
        rows = [self.rows[identifier] for identifier in muted]
        for row in rows:
            row["suppressed"] = muted[row["id"]]
            row["told_severity"] = self._notified_before.get(row["id"])
            self._add_entry(row, "suppressed", self._now, data=row["suppressed"])
        return rows

    def list_outbox_records(self) -> list[OutboxRecord]:
        """List the outbox events, in order. Call it after `mute`.

        A resolution is published exactly if the firing was; other events are published unless muted.
        """
        return [record for row, record in self._events if self._is_published(row, record)]

    def _is_published(self, row: AlertRow, record: OutboxRecord) -> bool:
        if row["dry_run"]:
            return False
        if record.type == "alert.resolved" and row["id"] not in self.new:
            return self._notified_before[row["id"]] is not None
        return row["suppressed"] is None

    def _fire(self, step: AlertTransition) -> None:
        rule = step.rule
        if rule is None:
            raise ValueError("a removed rule cannot fire")
        if rule.id not in self._descriptions:
            # The rule was disabled or deleted concurrently.
            return
        key = (step.rule_id, step.box_key)
        # The state of a box can be lost (by a restored backup, for example). Then nothing would ever resolve
        # the old alert, and it would block new ones: so the new alert supersedes it.
        if key in self._firing:
            self._resolve(self._firing[key], to_datetime(step.time_us), "superseded", None)
        row = self._row(step, rule)
        self.rows[row["id"]] = self.new[row["id"]] = self._firing[key] = row
        self._add_entry(row, "fired", row["started_at"], step=step)
        self._add_event(row, "alert.firing")

    def _row(self, step: AlertTransition, rule: CompiledRule) -> AlertRow:
        escalations = [] if rule.dry_run else [list(each) for each in rule.escalations]
        row: AlertRow = {
            "id": step.alert_id,
            "organisation_id": rule.organisation_id,
            "rule_id": rule.id,
            "rule_name": rule.name,
            "rule_version": rule.version,
            "site_id": rule.site_id,
            "box_key": step.box_key,
            "box": None if step.box_key is None else self._boxes[step.box_key],
            "severity": step.severity,
            "highest_severity": step.severity,
            "state": "firing",
            "resolved_value": None,
            "pending_since": to_datetime(step.pending_since_us),
            "started_at": to_datetime(step.time_us),
            "resolved_at": None,
            "resolution": None,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "acknowledged_by_kind": None,
            "acknowledged_by_name": None,
            "sequence": step.sequence,
            "description": self._descriptions[rule.id],
            "dry_run": rule.dry_run,
            "assignee": None,
            "suppressed": None,
            "told_severity": None if rule.dry_run else step.severity,
            "escalated_to": None,
            "escalated_at": None,
            "escalations": escalations,
            "remind_us": None if rule.dry_run else rule.remind_us,
        }
        self._put_cause(row, step.cause)
        restart_due_times(row, self._clock)
        return row

    def _change(self, row: AlertRow, step: AlertTransition) -> None:
        if step.severity is None:
            raise ValueError("a change of severity needs a severity")
        self._touch(row)
        before, highest = row["severity"], row["highest_severity"]
        # Samples do not lower a severity below that of an escalation for lack of acknowledgement.
        row["severity"] = find_highest_severity(filter(None, (step.severity, row["escalated_to"])))
        row["highest_severity"] = find_highest_severity((row["severity"], row["highest_severity"]))
        row["sequence"] += 1
        self._put_cause(row, step.cause)
        kind: TimelineKind = "escalated" if step.reason == "escalated" else "deescalated"
        data = {"reason": REASON_SAMPLES, "previous_severity": before, "level": step.severity}
        self._add_entry(row, kind, to_datetime(step.time_us), step=step, data=data)
        if rank_severity(row["severity"]) > rank_severity(before) and row["acknowledged_at"] is not None:
            # The acknowledgement applied to a lower severity.
            row |= dict.fromkeys(ACKNOWLEDGEMENT_COLUMNS)
            restart_due_times(row, self._clock)
            self._add_entry(row, "unacknowledged", to_datetime(step.time_us), data={"reason": "escalated"})
        if row["severity"] != before:
            up = rank_severity(row["severity"]) > rank_severity(before)
            more = {"reason": REASON_SAMPLES, "previous_severity": before}
            if up:
                self._add_event(row, "alert.escalated", more | {"previous_highest_severity": highest})
            else:
                self._add_event(row, "alert.deescalated", more)

    def _resolve(self, row: AlertRow, at: datetime, reason: str, cause: ConditionCause | None) -> None:
        self._touch(row)
        row |= {
            "state": "resolved",
            "resolved_value": None if cause is None else cause.value,
            # With several levels, one may end before another one began.
            "resolved_at": max(at, row["started_at"]),
            "resolution": reason,
            "sequence": row["sequence"] + 1,
            "escalate_at": None,
            "remind_at": None,
        }
        self._firing.pop((row["rule_id"], row["box_key"]), None)
        detail = None if cause is None else self._cause(cause) | _values(cause, at)
        self.entries.append(
            NewTimelineEntry(
                row["id"],
                row["organisation_id"],
                "resolved",
                row["resolved_at"],
                row["severity"],
                row["resolved_value"],
                detail,
                data={"reason": reason},
            )
        )
        self._add_event(row, "alert.resolved")

    def _touch(self, row: AlertRow) -> None:
        if row["id"] not in self.new:
            self.changed[row["id"]] = row

    def _add_event(self, row: AlertRow, kind: AlertEventType, more: Mapping[str, Any] | None = None) -> None:
        if row["told_severity"] is not None and row["suppressed"] is None:
            row["told_severity"] = row["severity"]
        record = build_alert_event(kind, row, row["rule_name"], self._now, more)
        self._events.append((row, record))

    def _add_entry(
        self,
        row: AlertRow,
        kind: TimelineKind,
        at: datetime,
        *,
        step: AlertTransition | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        cause = None if step is None else step.cause
        detail = None if cause is None else self._cause(cause) | _values(cause, at)
        value = None if cause is None else cause.value
        self.entries.append(
            NewTimelineEntry(
                row["id"], row["organisation_id"], kind, at, row["severity"], value, detail, data=data
            )
        )

    def _put_cause(self, row: AlertRow, cause: ConditionCause | None) -> None:
        for name in ("metric", "value", "threshold", "clear"):
            row[name] = None if cause is None else getattr(cause, name)
        row["cause"] = None if cause is None else self._cause(cause)

    def _cause(self, cause: ConditionCause) -> dict[str, Any]:
        found = None if cause.event is None else dict(cause.event)
        if found is not None and "time_us" in found:
            found["time"] = format_us(found.pop("time_us"))
        return {
            "path": cause.path,
            "function": cause.function,
            "window": None if cause.window_us is None else format_iso_duration(cause.window_us),
            "event": found,
            "boxes": [self._boxes[key] for key in cause.boxes if key in self._boxes],
            "index": cause.figure,
        }


def compute_due_times(
    escalations: Sequence[Sequence[Any]], remind_us: int | None, clock: datetime
) -> tuple[datetime | None, datetime | None]:
    """Compute when the next escalation and reminder of an unacknowledged alert are due, counted from `clock`.

    Args:
        escalations: the remaining steps, (after in µs, severity) each.
        remind_us: the interval of reminders, µs; None for no reminders.
        clock: the current time of the database's clock.

    Returns:
        `escalate_at` and `remind_at`.
    """
    return (
        clock + timedelta(microseconds=escalations[0][0]) if escalations else None,
        None if remind_us is None else clock + timedelta(microseconds=remind_us),
    )


def restart_due_times(row: AlertRow, clock: datetime) -> None:
    """Set `escalate_at` and `remind_at` of a row, counted from `clock`."""
    row["escalate_at"], row["remind_at"] = compute_due_times(row["escalations"], row["remind_us"], clock)


def format_iso_duration(micros: int) -> str:
    """Format a duration as ISO 8601, such as PT1H30M or P1D."""
    seconds, micros = divmod(micros, US_PER_S)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    fraction = f".{micros:06d}".rstrip("0") if micros else ""
    clock = "".join(
        f"{number}{fraction if unit == 'S' else ''}{unit}"
        for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S"))
        if number or (unit == "S" and fraction)
    )
    if not days and not clock:
        return "PT0S"
    return f"P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"


def _values(cause: ConditionCause, at: datetime) -> dict[str, Any]:
    """Return the values of the sample for the timeline, as evidence in a dispute."""
    return {
        "time": at,
        "metric": cause.metric,
        "value": cause.value,
        "threshold": cause.threshold,
        "clear": cause.clear,
    }
