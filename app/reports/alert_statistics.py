"""Reads the alert statistics of a report: counts by severity, durations, times to acknowledge.

An alert belongs to the period in which it began. Alerts of dry runs are excluded.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Float, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import Alert
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import from_datetime, to_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.reports.report_input import AlertStatistics, ReportAlert, ReportLanguage
from app.rules.definitions.models import Rule
from app.rules.definitions.severity import SEVERITIES
from app.rules.presets.preset_list import translate_rule_name

MAX_LISTED_ALERTS: Final = 10
"""Number of alerts that a report lists one by one."""


async def read_alert_statistics(
    session: AsyncSession,
    site_id: UUID,
    visible: TenantScope,
    spans: tuple[TimePeriod, TimePeriod],
    now: datetime,
    *,
    language: ReportLanguage,
) -> AlertStatistics:
    """Read the alert statistics of a site.

    Args:
        session: the session.
        site_id: the site.
        visible: the tenant scope of the caller.
        spans: the period, and the one before it.
        now: the current time, up to which firing alerts last.
        language: the language of rule names that come from presets.
    """
    first, last, earlier = (
        to_datetime(each) for each in (spans[0].start_us, spans[0].end_us, spans[1].start_us)
    )
    of_site = (
        Alert.site_id == site_id,
        Alert.dry_run.is_(False),
        *visible.within(Alert.organisation_id, Alert.site_id),
    )
    began = Alert.started_at >= first
    waited = cast(func.extract("epoch", Alert.acknowledged_at - Alert.created_at), Float)
    severities = [
        _count(began, Alert.highest_severity == severity).label(severity) for severity in SEVERITIES
    ]
    half = func.percentile_cont(0.5).within_group(case((began, waited)))
    row = (
        await session.execute(
            select(
                *severities,
                _count(Alert.started_at < first).label("before"),
                _count(began, Alert.state == "firing").label("firing"),
                _count(began, Alert.acknowledged_at.is_not(None)).label("acknowledged"),
                half.label("waited"),
                func.max(case((began, waited))).label("longest"),
            ).where(*of_site, Alert.started_at >= earlier, Alert.started_at < last)
        )
    ).one()
    went_on = await session.scalar(
        select(func.count()).where(
            *of_site, Alert.started_at < first, (Alert.resolved_at >= first) | Alert.resolved_at.is_(None)
        )
    )
    return AlertStatistics(
        by_severity={severity: getattr(row, severity) for severity in SEVERITIES},
        before=row.before,
        went_on=went_on or 0,
        firing=row.firing,
        acknowledged=row.acknowledged,
        waited_s=row.waited,
        longest_wait_s=row.longest,
        longest=await _longest(session, [*of_site, began, Alert.started_at < last], now, language),
    )


def _count(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(*conditions)


async def _longest(
    session: AsyncSession, conditions: list[ColumnElement[bool]], now: datetime, language: ReportLanguage
) -> list[ReportAlert]:
    lasted: ColumnElement[Any] = func.coalesce(Alert.resolved_at, now) - Alert.started_at
    rows = await session.execute(
        select(
            *(Rule.name, Rule.definition["preset"]["id"].astext),
            *(Alert.highest_severity, Alert.box, Alert.started_at, Alert.resolved_at),
        )
        .join(Rule, Rule.id == Alert.rule_id)
        .where(*conditions)
        .order_by(lasted.desc(), Alert.id)
        .limit(MAX_LISTED_ALERTS)
    )
    return [
        ReportAlert(
            translate_rule_name(rule, preset, language),
            *(severity, box),
            from_datetime(began),
            None if ended is None else from_datetime(ended),
        )
        for rule, preset, severity, box, began, ended in rows
    ]
