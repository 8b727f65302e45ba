"""Reads recent changes from the outbox, from versions of rules and from states of boxes, in one list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import Row, select

from app.alerts.change_schemas import LISTED_CHANGES, ChangeKind, ChangeSite, ChangeSubject, OverviewChange
from app.alerts.change_sentences import describe_box_change, describe_rule_change
from app.notifications.delivery.models import OutboxEntry
from app.notifications.sentences import event_sentence
from app.platform.db.database import ReadSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.ids import first_id
from app.presentation.languages import Language
from app.registry.box_change_queries import BoxChange, list_box_changes
from app.registry.box_filters import SilenceCriterion
from app.registry.site_repository import SiteLabel, read_site_labels
from app.rules.definitions.rule_versions import SiteVersion, list_recent_versions

_KINDS: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)
# Events by the scope that their reader needs. The keys of their data have the id and the name of the subject.
_SCOPES: Final = {"alert": "alerts:read", "incident": "incidents:read", "endpoint": "webhooks:read"}
_NAMES: Final = {"alert": "rule_name", "endpoint": "target"}


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """Which changes a caller reads.

    Attributes:
        principal: The caller.
        organisation: Only changes of this organisation; None: of all in the tenant scope.
        since: The earliest time of a change.
        language: The language of sentences.
    """

    principal: Principal
    organisation: UUID | None
    since: datetime
    language: Language


class _Change(NamedTuple):
    at: datetime
    kind: ChangeKind
    subject: ChangeSubject
    site_id: UUID | None
    severity: str | None
    source: "Row[Any] | SiteVersion | BoxChange"


async def list_changes(
    session: ReadSession, request: ChangesRequest, silence: SilenceCriterion
) -> tuple[list[OverviewChange], bool]:
    """List changes, the newest first, and return whether there are more.

    A change that the caller may not read elsewhere is left out: incidents need `incidents:read`, endpoints
    `webhooks:read`, rules `rules:read` and boxes `sites:read`.

    Args:
        session: A session of the API.
        request: Which changes.
        silence: The criterion of a silent box.
    """
    principal, visible = request.principal, request.principal.visible()
    most = LISTED_CHANGES + 1
    found = [*map(_of_event, await _list_events(session, request))]
    if principal.may("rules:read"):
        versions = await list_recent_versions(session, visible, request.organisation, request.since, most)
        found += map(_of_rule, versions)
    if principal.may("sites:read"):
        boxes = await list_box_changes(
            session,
            visible,
            organisation=request.organisation,
            silence=silence,
            since=request.since,
            most=most,
        )
        found += map(_of_box, boxes)
    found.sort(key=lambda change: change.at, reverse=True)
    listed = found[:LISTED_CHANGES]
    sites = await read_site_labels(session, [each.site_id for each in listed if each.site_id is not None])
    return [_show(change, sites, request.language) for change in listed], len(found) > LISTED_CHANGES


async def _list_events(session: ReadSession, request: ChangesRequest) -> Sequence[Row[Any]]:
    entry, visible = OutboxEntry, request.principal.visible()
    nouns = {noun for noun, scope in _SCOPES.items() if request.principal.may(scope)}
    kinds = [kind for kind in _KINDS if kind.partition(".")[0] in nouns]
    statement = select(entry.site_id, entry.type, entry.payload, entry.created_at)
    # By id, which begins with the time: an index has them in this order.
    statement = statement.where(entry.id >= first_id(request.since), entry.type.in_(kinds))
    statement = statement.where(*visible.within(entry.organisation_id, entry.site_id))
    if request.organisation is not None:
        statement = statement.where(entry.organisation_id == request.organisation)
    return (await session.execute(statement.order_by(entry.id.desc()).limit(LISTED_CHANGES + 1))).all()


def _of_event(row: Row[Any]) -> _Change:
    noun = row.type.partition(".")[0]
    name = row.payload.get(_NAMES.get(noun))
    subject = ChangeSubject(kind=noun, id=str(row.payload.get(f"{noun}_id")), name=name)
    severity = row.payload.get("severity") if noun == "alert" else None
    return _Change(row.created_at, row.type, subject, row.site_id, severity, row)


def _of_rule(found: SiteVersion) -> _Change:
    version = found.version
    kind: ChangeKind = "rule.changed"
    if version.deleted:
        kind = "rule.deleted"
    elif version.version == 1:
        kind = "rule.created"
    subject = ChangeSubject(kind="rule", id=str(version.rule_id), name=version.name)
    return _Change(version.created_at, kind, subject, found.site_id, None, found)


_BOX_KINDS: Final[dict[str, ChangeKind]] = {
    "silent": "box.silent",
    "online": "box.online",
    "offline": "box.offline",
}


def _of_box(change: BoxChange) -> _Change:
    subject = ChangeSubject(kind="box", id=change.box, name=change.name)
    return _Change(change.at, _BOX_KINDS[change.change], subject, change.site_id, None, change)


def _show(change: _Change, sites: dict[UUID, SiteLabel], language: Language) -> OverviewChange:
    site = sites.get(change.site_id) if change.site_id is not None else None
    if isinstance(change.source, SiteVersion):
        version = change.source.version
        sentence = describe_rule_change(change.kind, version.name, change.source.changed_by, language)
    elif isinstance(change.source, BoxChange):
        box = change.source.name or change.source.box
        sentence = describe_box_change(
            change.kind,
            box,
            "" if site is None else site.name,
            language,
            was_heard=change.source.was_heard,
        )
    else:
        sentence = event_sentence(change.kind, change.source.payload, language)
    return OverviewChange(
        at=change.at,
        kind=change.kind,
        subject=change.subject,
        site=None
        if change.site_id is None or site is None
        else ChangeSite(id=change.site_id, name=site.name, timezone=site.timezone),
        severity=change.severity,
        sentence=sentence,
    )
