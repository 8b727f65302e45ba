"""Reads the explanation of an alert: its rule's version, and the measurements around its start."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import Alert
from app.alerts.schemas import LISTED_POINTS, PointAround, RuleExplained, SamplesAround
from app.catalogue.metrics import METRICS_BY_NAME
from app.notifications.sentences import condition_node, find_condition_part
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.tenant_scope import TenantScope
from app.rules.definitions.models import RuleVersion
from app.rules.definitions.rule_in_words import describe_rule
from app.timeseries.series import reading_queries

_BEFORE_S: Final = 900
"""The least time that is shown before the condition began to hold (seconds)."""

_INTERVALS: Final = 10
"""The least number of the box's sampling intervals that is shown before it."""


async def read_rule_at_firing(
    session: AsyncSession, alert: Alert, name_now: str
) -> tuple[RuleExplained, dict[str, Any]]:
    """Read the version of an alert's rule that fired, and its definition ({} if it is not stored)."""
    query = select(RuleVersion).where(
        RuleVersion.rule_id == alert.rule_id, RuleVersion.version == alert.rule_version
    )
    version = (await session.execute(query)).scalar_one_or_none()
    definition = {} if version is None else version.definition
    decisive = find_condition_part(definition, str((alert.cause or {}).get("path") or ""))
    explained = RuleExplained(
        id=alert.rule_id,
        name=name_now if version is None else version.name,
        version=alert.rule_version,
        sentence=describe_rule(definition, "en", dry_run=alert.dry_run),
        sentence_fr=describe_rule(definition, "fr", dry_run=alert.dry_run),
        condition=None if decisive is None else dict(decisive),
    )
    return explained, definition


async def read_samples_around(
    session: AsyncSession, alert: Alert, definition: dict[str, Any], visible: TenantScope, now: datetime
) -> SamplesAround | None:
    """Read the measurements around the start of an alert; None if its rule has no single box and metric.

    Args:
        session: a session of the API.
        alert: the alert.
        definition: the definition of its rule when it fired.
        visible: the tenant scope of the caller.
        now: the current time, which ends the range of a firing alert.
    """
    cause = alert.cause or {}
    box = alert.box or next(iter(cause.get("boxes") or ()), None)
    metric = METRICS_BY_NAME.get(alert.metric or "")
    if metric is None or box is None or cause.get("index") is not None:
        return None
    try:
        measured = await reading_queries.get_measured_box(session, box, visible)
    except NotFoundError:
        return None
    condition = condition_node(definition, str(cause.get("path") or "")) or {}
    spans = [cause.get("window"), condition.get("for")]
    before = max(
        _BEFORE_S, _INTERVALS * measured.interval_s, *(parse_iso_duration(span) for span in spans if span)
    )
    first = alert.pending_since - timedelta(seconds=before)
    last = now if alert.resolved_at is None else alert.resolved_at
    # The end is excluded: this includes the sample that resolved the alert.
    last = max(last, alert.started_at) + timedelta(microseconds=1)
    rows = await reading_queries.read_metric_values(
        session, measured, metric, first=first, last=last, limit=LISTED_POINTS
    )
    points = [PointAround(time=time, value=value) for time, value in rows[:LISTED_POINTS]]
    return SamplesAround.model_validate(
        {
            "box": box,
            "metric": metric.name,
            "unit": metric.unit,
            "from": first,
            "to": last,
            "points": points,
            "truncated": len(rows) > LISTED_POINTS,
        }
    )
