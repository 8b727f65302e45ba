"""Defines the tables of alerts, their timelines, silences and inhibitions."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Computed, ForeignKey, Identity, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)
# None is SQL's null, not JSON's.
_Json = JSONB(none_as_null=True)


class Alert(Base):
    """One rule that fires on one box, or on its whole site, until it is resolved.

    Times of the alert are those of samples. Times of actions and timers are those of the clock.

    Attributes:
        box_key, box: the box; None for a rule on a whole site.
        severity: the severity of the highest firing level, or `escalated_to` if that is higher.
        highest_severity: the highest severity so far; it never decreases.
        metric, value, threshold, clear: of the deciding part of the condition; None if it has none.
        cause: the deciding part: `path`, `function`, `window`, `event`, and the ids of the `boxes` behind it.
        acknowledged_by_kind, acknowledged_by_name: kind and name of the key or the person at that time.
        description: the rule's description when it fired: what to do.
        dry_run: its rule is a dry run, so it does not notify.
        suppressed: what mutes it, `{"silences": […], "inhibited_by": […]}`; None if nothing does.
        told_severity: the severity of the last notification; None without notifications.
        notified: whether it has notified.
        escalated_to: the severity that it was raised to for lack of acknowledgement; a lower limit since
            then.
        escalated_at: when it was raised.
        escalations: the remaining steps, `[[after in µs, severity], …]`.
        escalate_at: when the first of them is due.
        remind_us: the interval of reminders, µs; None for no reminders.
        remind_at: when the next reminder is due.
        sequence: increases with each change that notifies, or would if not muted.
    """

    __tablename__ = "alerts"
    # Server defaults are returned by the statement: reading an attribute must not query.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 (as SQLAlchemy wants it)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    rule_id: Mapped[UUID] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"))
    rule_version: Mapped[int]
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    box_key: Mapped[int | None] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"))
    box: Mapped[str | None] = mapped_column(Text)
    metric: Mapped[str | None] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    highest_severity: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    value: Mapped[float | None]
    threshold: Mapped[float | None]
    clear: Mapped[float | None]
    resolved_value: Mapped[float | None]
    pending_since: Mapped[datetime] = mapped_column(_Instant)
    started_at: Mapped[datetime] = mapped_column(_Instant)
    resolved_at: Mapped[datetime | None] = mapped_column(_Instant)
    resolution: Mapped[str | None] = mapped_column(Text)
    acknowledged_at: Mapped[datetime | None] = mapped_column(_Instant)
    acknowledged_by: Mapped[UUID | None]
    acknowledged_by_kind: Mapped[str | None] = mapped_column(Text)
    acknowledged_by_name: Mapped[str | None] = mapped_column(Text)
    sequence: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    description: Mapped[str | None] = mapped_column(Text)
    cause: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    dry_run: Mapped[bool] = mapped_column(server_default="false")
    assignee: Mapped[str | None] = mapped_column(Text)
    suppressed: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    told_severity: Mapped[str | None] = mapped_column(Text)
    notified: Mapped[bool] = mapped_column(Computed("told_severity IS NOT NULL", persisted=True))
    escalated_to: Mapped[str | None] = mapped_column(Text)
    escalated_at: Mapped[datetime | None] = mapped_column(_Instant)
    escalations: Mapped[list[Any]] = mapped_column(_Json, server_default="[]")
    escalate_at: Mapped[datetime | None] = mapped_column(_Instant)
    remind_us: Mapped[int | None] = mapped_column(BigInteger)
    remind_at: Mapped[datetime | None] = mapped_column(_Instant)


class TimelineEntry(Base):
    """An entry in the timeline of an alert; see `app.alerts.timeline_writer`."""

    __tablename__ = "alert_timeline"

    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID]
    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"))
    organisation_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(_Instant)
    recorded_at: Mapped[datetime] = mapped_column(_Instant)
    severity: Mapped[str | None] = mapped_column(Text)
    value: Mapped[float | None]
    cause: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    actor: Mapped[str | None] = mapped_column(Text)
    actor_key: Mapped[UUID | None]
    actor_kind: Mapped[str | None] = mapped_column(Text)
    comment: Mapped[str | None] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(_Json)


class Silence(Base):
    """Mutes matching alerts for a time, or in the hours of a schedule.

    Attributes:
        matchers: which alerts; see `app.alerts.muting_queries`.
        ends_at: the end; None if only the schedule limits it.
        schedule: spans of hours, as in `app.platform.kernel.weekly_hours`; None for all the time.
        timezone: the time zone of the schedule.
        window_start, window_end: the current or the next window of the schedule; without an end: for ever.
    """

    __tablename__ = "silences"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    matchers: Mapped[dict[str, Any]] = mapped_column(_Json)
    starts_at: Mapped[datetime] = mapped_column(_Instant)
    ends_at: Mapped[datetime | None] = mapped_column(_Instant)
    schedule: Mapped[list[Any] | None] = mapped_column(_Json)
    timezone: Mapped[str | None] = mapped_column(Text)
    window_start: Mapped[datetime | None] = mapped_column(_Instant)
    window_end: Mapped[datetime | None] = mapped_column(_Instant)
    author: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class Inhibition(Base):
    """Mutes alerts that match `target` while an alert fires that matches `source`.

    Attributes:
        equal: the fields that both must share, of `site`, `box` and `metric`.
    """

    __tablename__ = "inhibitions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    source: Mapped[dict[str, Any]] = mapped_column(_Json)
    target: Mapped[dict[str, Any]] = mapped_column(_Json)
    equal: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


PUBLISHED_VIEWS: Final = {"alerts_muting": "id, state, updated_at, suppressed"}
"""A view from which `notifications` decides whether it sends an alert's events (migration 0038)."""
