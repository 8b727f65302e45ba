"""Queries on alerts made by the API. Must not write what samples cause: that is the recorder's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Select, Text, any_, func, literal, or_, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.alerts.models import Alert
from app.core.database import ReadSession, WriteSession
from app.core.errors import NotFoundError
from app.observations.models import BoxState
from app.rules.models import Rule
from app.sites.models import Box


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts a list shows; None leaves a side open.

    Attributes:
        organisation_id: only this organisation's.
        state: firing or resolved.
        site_id: only of this site.
        box: only of the boxes with this id, those of the past too.
        rule_id: only of this rule.
        severity: info, warning or critical.
        start: only those that started at this time or later.
        end: only those that started before this time.
        before: only those made before this one (the keyset).
    """

    organisation_id: UUID | None = None
    state: str | None = None
    site_id: UUID | None = None
    box: str | None = None
    rule_id: UUID | None = None
    severity: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    before: UUID | None = None


Shown = tuple[Alert, str]
"""An alert and the name of its rule."""


def _shown(visible: UUID | None) -> Select[Alert, str]:
    query = select(Alert, Rule.name).join(Rule, Rule.id == Alert.rule_id)
    return query if visible is None else query.where(Alert.organisation_id == visible)


async def page(session: ReadSession, wanted: AlertFilter, limit: int) -> Sequence[Shown]:
    """Read up to `limit` alerts, the newest first."""
    query = _shown(wanted.organisation_id)
    if wanted.state is not None:
        query = query.where(Alert.state == wanted.state)
    if wanted.site_id is not None:
        query = query.where(Alert.site_id == wanted.site_id)
    if wanted.box is not None:
        query = query.where(Alert.box_key.in_(select(Box.key).where(Box.id == wanted.box)))
    if wanted.rule_id is not None:
        query = query.where(Alert.rule_id == wanted.rule_id)
    if wanted.severity is not None:
        query = query.where(Alert.severity == wanted.severity)
    if wanted.start is not None:
        query = query.where(Alert.started_at >= wanted.start)
    if wanted.end is not None:
        query = query.where(Alert.started_at < wanted.end)
    if wanted.before is not None:
        query = query.where(Alert.id < wanted.before)
    rows = await session.execute(query.order_by(Alert.id.desc()).limit(limit))
    return [(alert, name) for alert, name in rows]


async def find(session: ReadSession, alert_id: UUID, visible: UUID | None) -> Shown:
    """Read an alert. NotFoundError for another organisation's."""
    row = (await session.execute(_shown(visible).where(Alert.id == alert_id))).one_or_none()
    if row is None:
        raise NotFoundError("alert", alert_id)
    return row[0], row[1]


async def lock(session: WriteSession, alert_id: UUID, visible: UUID | None) -> Shown:
    """Read an alert to change it. NotFoundError for another organisation's."""
    query = _shown(visible).where(Alert.id == alert_id).with_for_update(of=Alert)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError("alert", alert_id)
    return row[0], row[1]


async def lock_states(session: WriteSession, rule_id: UUID | None, box_key: int | None) -> list[int]:
    """Lock the states of a box, or of every box that a rule applies to, in the order of their keys."""
    if box_key is not None:
        concerned = BoxState.box_key == box_key
    else:
        site = select(Rule.site_id).where(Rule.id == rule_id).scalar_subquery()
        concerned = or_(
            BoxState.box_key.in_(select(Box.key).where(Box.site_id == site)),
            BoxState.box_key.in_(
                select(Alert.box_key).where(Alert.rule_id == rule_id, Alert.state == "firing")
            ),
        )
    query = select(BoxState.box_key).where(concerned).order_by(BoxState.box_key).with_for_update()
    return list((await session.scalars(query)).all())


async def resolve(
    session: WriteSession, rule_id: UUID | None, box_key: int | None, *, reason: str, now: datetime
) -> list[Shown]:
    """Resolve the firing alerts of a rule, a box, or a rule on a box, and return them as they are now."""
    changed = (
        update(Alert)
        .where(
            Alert.state == "firing",
            true() if rule_id is None else Alert.rule_id == rule_id,
            true() if box_key is None else Alert.box_key == box_key,
        )
        .values(
            state="resolved",
            # A box's clock may be ahead: an alert does not end before it began.
            resolved_at=func.greatest(now, Alert.started_at),
            resolution=reason,
            sequence=Alert.sequence + 1,
            updated_at=now,
        )
        .returning(Alert)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    alerts = (await session.scalars(changed)).all()
    wanted = {alert.rule_id for alert in alerts}
    rows = await session.execute(select(Rule.id, Rule.name).where(Rule.id.in_(wanted)))
    names = {identifier: name for identifier, name in rows}  # noqa: C416 (dict() does not take rows as pairs)
    return [(alert, names[alert.rule_id]) for alert in sorted(alerts, key=lambda alert: alert.id)]


async def forget_states(session: WriteSession, box_keys: Sequence[int], rule_id: UUID | None) -> None:
    """Put a rule, or all rules, to rest on boxes whose states are locked."""
    chosen = BoxState.box_key == any_(literal(list(box_keys), ARRAY(Integer)))
    nothing: dict[str, Any] = {}
    if rule_id is None:
        statement = update(BoxState).where(chosen, BoxState.rules != nothing).values(rules=nothing)
    else:
        key = str(rule_id)
        without = BoxState.rules.op("-", return_type=JSONB())(literal(key, Text))
        statement = update(BoxState).where(chosen, BoxState.rules.has_key(key)).values(rules=without)
    await session.execute(statement.execution_options(synchronize_session=False))
