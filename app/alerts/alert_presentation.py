"""Adds names, units, sentences, links and current values to alerts for the API.

Reads names and rules, the newest measurements of the boxes of firing alerts, and the incidents of sound
events. Must not change anything.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple, Self
from uuid import UUID

from fastapi import Depends
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.alert_events import ACKNOWLEDGEMENT_COLUMNS, EVENT_COLUMNS, describe_acknowledger
from app.alerts.models import Alert
from app.alerts.repository import AlertWithRuleName
from app.alerts.schemas import AlertOut
from app.notifications.events.event_enrichment import build_alert_link, get_cause_unit
from app.notifications.sentences import condition_node, event_sentence
from app.platform.db.tenant_reader import FlatRow, TenantReader
from app.platform.http.contract.session_dependencies import ReaderDependency
from app.platform.identity.caller_authentication import Principal, current_principal
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.platform.runtime.stored_settings import InstallationDependency, InstallationSettings
from app.registry.models import Box, Site
from app.rules.definitions.models import Rule
from app.sound_incidents.incidents_of_events import EventOfBox, find_incidents_of_events
from app.timeseries.series.latest_value_queries import LatestByMetric, read_latest_values

MEASUREMENTS_SCOPE: Final = "telemetry:read"
"""The scope that is required to read measurements, including the current values of alerts."""
INCIDENTS_SCOPE: Final = "incidents:read"
"""The scope that is required to read the incidents of alerts."""

_NO_DATA: Final = "no_data"


type AlertRow = Alert | FlatRow
"""An alert: its object, or its row of a list."""


class AlertNames(NamedTuple):
    """The current names of an alert's rule, site and box.

    Attributes:
        rule: The name of the rule.
        site: The name of the site; None if the caller may not access it.
        box: The name of the box; None if it has none.
        definition: The definition of the rule.
        one_box: Whether the site has one box only.
    """

    rule: str
    site: str | None
    box: str | None
    definition: Mapping[str, Any] | None
    one_box: bool


class AlertPresenter:
    """Presents alerts to one caller.

    Args:
        reader: Reads the newest measurements.
        installation: Has the base of links.
        measures: Whether the caller may read measurements.
        incidents: Whether the caller may read incidents.
    """

    def __init__(
        self, reader: TenantReader, installation: InstallationSettings, *, measures: bool, incidents: bool
    ) -> None:
        self._reader = reader
        self._installation = installation
        self._measures = measures
        self._incidents = incidents

    @classmethod
    async def of(
        cls,
        reader: ReaderDependency,
        installation: InstallationDependency,
        principal: Annotated[Principal, Depends(current_principal)],
    ) -> Self:
        """Make the presenter of a caller, which serves all its requests."""
        return cls(
            reader,
            installation,
            measures=principal.may(MEASUREMENTS_SCOPE),
            incidents=principal.may(INCIDENTS_SCOPE),
        )

    async def show_one(self, session: AsyncSession, row: AlertWithRuleName) -> AlertOut:
        """Return the JSON of one alert."""
        alert, _ = row
        names = await read_alert_names(session, [row])
        incidents = await self._find_incidents([alert])
        return self._shown(alert, names[alert.id], await self._latest([alert]), incidents.get(alert.id))

    async def format_rows(self, rows: Sequence[FlatRow]) -> list[dict[str, Any]]:
        """Return the JSON of a page of `app.alerts.repository.compile_alert_page`, in its order."""
        latest, incidents = await self._latest(rows), await self._find_incidents(rows)
        return [self._format_row(row, latest, incidents.get(row.id)) for row in rows]

    def _format_row(
        self, row: FlatRow, latest: Mapping[str, LatestByMetric], incident: UUID | None
    ) -> dict[str, Any]:
        value, at = find_current_value(row, latest.get(row.box or "", {}), datetime.now(UTC))
        return {
            **_format_lasting(row, self._installation.base_url),
            "current_value": value,
            "current_time": at,
            "incident_id": incident,
        }

    async def _find_incidents(self, alerts: Sequence[AlertRow]) -> Mapping[UUID, UUID]:
        """Return the incident of each alert on a sound event, by the id of the alert."""
        events = {alert.id: event for alert in alerts if (event := find_event(alert)) is not None}
        if not events or not self._incidents:
            return {}
        found = await find_incidents_of_events(self._reader, list(events.values()))
        return {alert: found[event] for alert, event in events.items() if event in found}

    async def _latest(self, alerts: Sequence[AlertRow]) -> Mapping[str, LatestByMetric]:
        if not self._measures:
            return {}
        keys = {alert.box_key for alert in alerts if alert.box_key is not None and _has_current(alert)}
        return await read_latest_values(self._reader, sorted(keys)) if keys else {}

    def _shown(
        self,
        alert: Alert,
        names: AlertNames,
        latest: Mapping[str, LatestByMetric],
        incident: UUID | None,
    ) -> AlertOut:
        value, at = find_current_value(alert, latest.get(alert.box or "", {}), datetime.now(UTC))
        cause = alert.cause or {}
        english, french = (describe_alert(alert, names, language) for language in ("en", "fr"))
        return AlertOut.of(
            alert,
            {
                "rule_name": names.rule,
                "site_name": names.site,
                "box_name": names.box,
                "function": cause.get("function"),
                "unit": get_cause_unit(alert.metric, cause),
                "current_value": value,
                "current_time": at,
                "incident_id": incident,
                "acknowledged_by": describe_acknowledger(
                    {name: getattr(alert, name) for name in ACKNOWLEDGEMENT_COLUMNS}
                ),
                "sentence": english,
                "sentence_fr": french,
                "link": build_alert_link(self._installation.base_url, alert.id),
            },
        )


Presenter = Annotated[AlertPresenter, Depends(AlertPresenter.of)]


# Lists are polled, and most of a row changes only with its alert, its rule, and the names in its sentences.
_FORMATTED: Final[OrderedDict[tuple[object, ...], Mapping[str, Any]]] = OrderedDict()
_FORMATTED_MAX: Final = 5_000


def _format_lasting(row: FlatRow, base_url: str) -> Mapping[str, Any]:
    """Return the JSON of a row, without the current value."""
    names = AlertNames(
        row.rule_name, row.site_name, row.box_name, row.rule_definition, one_box=row.site_boxes == 1
    )
    versions = row.id, row.alert_version, row.rule_row_version
    key = (*versions, names.rule, names.site, names.box, names.one_box, base_url)
    found = _FORMATTED.get(key)
    if found is not None:
        _FORMATTED.move_to_end(key)
        return found
    found = _FORMATTED[key] = _format_named(row, names, base_url)
    if len(_FORMATTED) > _FORMATTED_MAX:
        _FORMATTED.popitem(last=False)
    return found


def _format_named(row: FlatRow, names: AlertNames, base_url: str) -> Mapping[str, Any]:
    columns = dict(row.items())
    cause = row.cause or {}
    derived = {
        "rule_name": names.rule,
        "site_name": names.site,
        "box_name": names.box,
        "function": cause.get("function"),
        "unit": get_cause_unit(row.metric, cause),
        "current_value": None,
        "current_time": None,
        "incident_id": None,
        "acknowledged_by": describe_acknowledger(columns),
        "sentence": describe_alert(row, names, "en"),
        "sentence_fr": describe_alert(row, names, "fr"),
        "link": build_alert_link(base_url, row.id),
    }
    shown = columns | derived
    return {name: shown[name] for name in AlertOut.model_fields}


def describe_alert(alert: AlertRow, names: AlertNames, language: str) -> str:
    """Describe the current state of an alert in one sentence."""
    data: dict[str, Any] = {name: getattr(alert, name) for name in (*EVENT_COLUMNS, *ACKNOWLEDGEMENT_COLUMNS)}
    data |= {"alert_id": alert.id, "rule_name": names.rule, "site_name": names.site, "box_name": names.box}
    data["acknowledged_by"] = describe_acknowledger(data)
    if alert.state == "resolved":
        happened = "alert.resolved"
    else:
        happened = "alert.firing" if alert.acknowledged_at is None else "alert.acknowledged"
    path = str((alert.cause or {}).get("path") or "")
    condition = condition_node(names.definition, path)
    return event_sentence(happened, data, language, condition=condition, one_box=names.one_box)


async def read_alert_names(
    session: AsyncSession, rows: Sequence[AlertWithRuleName]
) -> dict[UUID, AlertNames]:
    """Read the current names of the sites, boxes and rules of alerts, by alert id."""
    alerts = [alert for alert, _ in rows]
    some = select(Box.key).where(Box.site_id == Site.id, Box.deleted_at.is_(None)).limit(2).correlate(Site)
    alone = select(func.count()).select_from(some.subquery()).scalar_subquery()
    sites = await session.execute(
        select(Site.id, Site.name, alone).where(Site.id.in_({alert.site_id for alert in alerts}))
    )
    known = {key: (name, count == 1) for key, name, count in sites}
    keys = {alert.box_key for alert in alerts} - {None}
    named = await session.execute(select(Box.key, Box.name).where(Box.key.in_(keys)))
    boxes = {row.key: row.name for row in named}
    found = await session.execute(
        select(Rule.id, Rule.definition).where(Rule.id.in_({alert.rule_id for alert in alerts}))
    )
    rules = {row.id: row.definition for row in found}
    names = {}
    for alert, rule in rows:
        site, one_box = known.get(alert.site_id, (None, False))
        box = None if alert.box_key is None else boxes.get(alert.box_key)
        names[alert.id] = AlertNames(rule, site, box, rules.get(alert.rule_id), one_box)
    return names


def find_event(alert: AlertRow) -> EventOfBox | None:
    """Return the event of a box that decided an alert; None for an alert on anything else."""
    event = (alert.cause or {}).get("event")
    at = event.get("time") if isinstance(event, Mapping) else None
    return None if alert.box_key is None or at is None else (alert.box_key, datetime.fromisoformat(at))


def _has_current(alert: AlertRow) -> bool:
    silent = (alert.cause or {}).get("function") == _NO_DATA
    return alert.state == "firing" and (silent or alert.metric is not None)


def find_current_value(
    alert: AlertRow, latest: LatestByMetric, now: datetime
) -> tuple[float | None, datetime | None]:
    """Return the newest measurement of a firing alert's metric with its time, or the duration of a silence.

    Args:
        alert: The alert.
        latest: The newest values of its box.
        now: The current time, up to which a silence of the box is counted.

    Returns:
        (None, None) for resolved alerts, and for rules on a whole site, on events or on indices.
    """
    if not _has_current(alert) or not latest:
        return None, None
    if (alert.cause or {}).get("function") == _NO_DATA:
        times = [at for metric, (_, at) in latest.items() if alert.metric in (None, metric)]
        if not times:
            return None, None
        return max(0.0, (from_datetime(now) - max(times)) / US_PER_S), now
    found = latest.get(alert.metric or "")
    return (None, None) if found is None else (found[0], to_datetime(found[1]))
