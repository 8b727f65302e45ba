"""Adds names of sites, boxes and rules, a unit, a sentence and a link to events of alerts and incidents.

Names are stored with the event in the outbox, as they are at its time. They are read from the views of
sites, boxes and rules that other rooms publish. Pure functions build the links.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.catalogue.metric_display_names import get_metric_unit
from app.notifications.email.mail_rendering import SiteName
from app.notifications.sentences import SENTENCES, condition_node, event_sentence
from app.platform.db.database import RawConnection
from app.registry import cross_tenant_repository


class OutboxRecord(NamedTuple):
    """An event for the outbox.

    Attributes:
        id: The event's id, from which `webhook-id` is derived.
        organisation_id: The organisation that gets the event.
        site_id: The event's site; None: only endpoints for all sites get it.
        type: The event's type, such as `alert.firing`.
        payload: The `data` of the webhook's body: JSON values, UUIDs and aware datetimes.
        created_at: The time of the event, aware: the `timestamp` of the webhook's body.
    """

    id: UUID
    organisation_id: UUID
    site_id: UUID | None
    type: str
    payload: dict[str, Any]
    created_at: datetime


# One statement for all events of a batch. The number of a site's boxes decides whether a sentence names the
# box.
_DETAILS: Final = """
SELECT 'site' AS kind, s.id::text AS id, s.name, NULL AS definition, (
    SELECT count(*)
    FROM (SELECT FROM registry_boxes b WHERE b.site_id = s.id AND b.deleted_at IS NULL LIMIT 2) AS first
) AS boxes
FROM registry_sites s WHERE s.id = ANY ($1::uuid[])
UNION ALL
SELECT 'box', b.id, b.name, NULL, NULL FROM registry_boxes b
WHERE b.id = ANY ($2::text[]) AND b.deleted_at IS NULL
UNION ALL
SELECT 'rule', r.id::text, NULL, r.definition::text, NULL FROM rules_definitions r
WHERE r.id = ANY ($3::uuid[])
"""


class _Details(NamedTuple):
    """Details of sites, boxes and rules, by id."""

    sites: dict[str, str]
    alone: set[str]
    boxes: dict[str, str | None]
    rules: dict[str, dict[str, Any]]


async def add_event_details(
    connection: RawConnection, records: Sequence[OutboxRecord]
) -> Sequence[OutboxRecord]:
    """Return events with `site_name`, `box_name`, `unit`, `sentence` and `sentence_fr` in their payloads.

    Other events stay as they are, without a query.

    Args:
        connection: In the caller's transaction.
        records: The events, in order.
    """
    described = [record for record in records if _has_sentence(record)]
    if not described:
        return records
    details = await _read_details(connection, described)
    return [_add_details(record, details) if _has_sentence(record) else record for record in records]


def _has_sentence(record: OutboxRecord) -> bool:
    return "alert_id" in record.payload or "incident_id" in record.payload


async def _read_details(connection: RawConnection, records: Sequence[OutboxRecord]) -> _Details:
    boxes = {record.payload.get("box") for record in records} - {None}
    rules = {record.payload.get("rule_id") for record in records} - {None}
    sites = {record.site_id for record in records} - {None}
    rows = await connection.fetch(_DETAILS, list(sites), list(boxes), list(rules))
    by_kind: dict[str, dict[str, Any]] = {"site": {}, "box": {}, "rule": {}}
    for row in rows:
        by_kind[row["kind"]][row["id"]] = row
    return _Details(
        {key: row["name"] for key, row in by_kind["site"].items()},
        {key for key, row in by_kind["site"].items() if row["boxes"] == 1},
        {key: row["name"] for key, row in by_kind["box"].items()},
        {key: msgspec.json.decode(row["definition"]) for key, row in by_kind["rule"].items()},
    )


def _add_details(record: OutboxRecord, details: _Details) -> OutboxRecord:
    payload = dict(record.payload)
    site = str(record.site_id)
    payload["site_name"] = details.sites.get(site)
    cause = payload.get("cause") or {}
    condition = None
    if "alert_id" in payload:
        payload["box_name"] = details.boxes.get(payload.get("box") or "")
        payload["unit"] = get_cause_unit(payload.get("metric"), cause)
        definition = details.rules.get(str(payload.get("rule_id")))
        condition = condition_node(definition, str(cause.get("path") or ""))
    alone = site in details.alone
    for key, language in SENTENCES.items():
        payload[key] = event_sentence(record.type, payload, language, condition=condition, one_box=alone)
    return record._replace(payload=payload)


def get_cause_unit(metric: str | None, cause: dict[str, Any]) -> str | None:
    """Return the unit of an alert's value (seconds for a silence); None if it has none.

    Args:
        metric: The alert's metric.
        cause: The alert's cause.
    """
    if cause.get("function") == "no_data":
        return "s"
    index = cause.get("index")
    unit = get_metric_unit(metric, cause.get("function")) if index is None else str(index.get("unit") or "")
    return None if unit in ("", "1") else unit


class _Subject(msgspec.Struct):
    alert_id: str | None = None
    incident_id: str | None = None


def build_alert_link(base_url: str, alert_id: UUID | str) -> str:
    """Return the URL of an alert."""
    return f"{base_url}/console/alerts/{alert_id}"


def build_incident_link(base_url: str, incident_id: UUID | str) -> str:
    """Return the URL of an incident."""
    return f"{base_url}/console/incidents/{incident_id}"


def build_event_link(base_url: str, data: Mapping[str, Any]) -> str | None:
    """Return the URL of an event's alert or incident; None if it has neither."""
    if data.get("alert_id") is not None:
        return build_alert_link(base_url, str(data["alert_id"]))
    if data.get("incident_id") is not None:
        return build_incident_link(base_url, str(data["incident_id"]))
    return None


def add_event_link(payload: str, base_url: str) -> str:
    """Return the data of an event with its `link`, as JSON text; unchanged without one."""
    try:
        subject = msgspec.json.decode(payload, type=_Subject)
    except msgspec.DecodeError:
        # An event with unexpected data must not block the events after it.
        return payload
    link = build_event_link(base_url, msgspec.structs.asdict(subject))
    if link is None:
        return payload
    # The object is not empty, so the link can be inserted before its last brace.
    return f'{payload[:-1]},"link":{msgspec.json.encode(link).decode()}}}'


async def read_event_site_names(connection: RawConnection, site_ids: Collection[UUID]) -> dict[str, SiteName]:
    """Read the names and time zones of sites, by id as text; deleted sites are missing."""
    if not site_ids:
        return {}
    rows = await cross_tenant_repository.read_site_names_and_zones(connection, site_ids)
    return {str(row["id"]): SiteName(row["name"], row["timezone"]) for row in rows}
