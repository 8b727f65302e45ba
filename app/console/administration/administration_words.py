"""Holds the words of the administration pages for values of the API, and prepares their rows. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from app.console.framework.page_translation import mark_text
from app.platform.identity.caller_authentication import SCOPES

NEARLY_FULL: Final = 90
"""Percent of a quota from which its bar warns."""
_FULL: Final = 100

ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "owner": mark_text("Owner"),
        "operator": mark_text("Operator"),
        "viewer": mark_text("Viewer"),
        "installer": mark_text("Installer"),
    }
)
ROLE_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "owner": mark_text("Owner: decides on members, API keys and everything else"),
        "operator": mark_text("Operator: works with sites, boxes, rules, alerts and webhooks"),
        "viewer": mark_text("Viewer: reads, and changes nothing"),
        "installer": mark_text("Installer: puts boxes into service"),
    }
)
QUOTAS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sites": mark_text("Sites"),
        "boxes": mark_text("Boxes"),
        "api_keys": mark_text("API keys"),
        "webhooks": mark_text("Webhooks and channels"),
        "clients": mark_text("Client organisations"),
        "samples_per_day": mark_text("Samples a day"),
    }
)
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "platform": mark_text("Platform"),
        "integrator": mark_text("Integrator"),
        "client": mark_text("Client"),
    }
)
PURPOSE_STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "active": (mark_text("in force"), "good"),
        "awaiting_approval": (mark_text("awaiting approval"), "attention"),
        "incomplete": (mark_text("incomplete"), "attention"),
        "upcoming": (mark_text("not yet in force"), ""),
        "ended": (mark_text("ended"), ""),
        "not_declared": (mark_text("not declared"), ""),
    }
)
"""Text and colour of each state of a purpose."""
LEGAL_BASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": mark_text("not declared"),
        "consent": mark_text("Consent (GDPR, Article 6(1)(a))"),
        "contract": mark_text("Contract (GDPR, Article 6(1)(b))"),
        "legal_obligation": mark_text("Legal obligation (GDPR, Article 6(1)(c))"),
        "vital_interests": mark_text("Vital interests (GDPR, Article 6(1)(d))"),
        "public_task": mark_text("Public task (GDPR, Article 6(1)(e))"),
        "legitimate_interests": mark_text("Legitimate interests (GDPR, Article 6(1)(f))"),
        "law_enforcement": mark_text("Law enforcement (Directive (EU) 2016/680)"),
        "other_law": mark_text("Another law"),
        "not_personal_data": mark_text("No personal data"),
    }
)
RIGHTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "access": mark_text("Access to data"),
        "objection": mark_text("Objection"),
        "erasure": mark_text("Erasure"),
        "rectification": mark_text("Rectification"),
        "restriction": mark_text("Restriction"),
        "question": mark_text("Question"),
    }
)
RIGHTS_STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "received": (mark_text("received"), "attention"),
        "in_progress": (mark_text("in progress"), ""),
        "answered": (mark_text("answered"), "good"),
        "withdrawn": (mark_text("withdrawn"), ""),
    }
)
OUTCOMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "granted": mark_text("Granted"),
        "partly_granted": mark_text("Granted in part"),
        "refused": mark_text("Refused"),
        "nothing_held": mark_text("No data held"),
    }
)
REPORTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "day": mark_text("Daily, for the day before"),
        "week": mark_text("On Mondays, for the week before"),
        "month": mark_text("On the 1st, for the month before"),
    }
)
RUN_STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "pending": (mark_text("on its way"), ""),
        "sent": (mark_text("sent"), "good"),
        "failed": (mark_text("failed"), "bad"),
    }
)
SCOPE_GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "organisations": mark_text("Organisation"),
        "sites": mark_text("Sites and purposes"),
        "boxes": mark_text("Boxes"),
        "telemetry": mark_text("Measurements"),
        "rules": mark_text("Rules"),
        "alerts": mark_text("Alerts"),
        "incidents": mark_text("Incidents"),
        "webhooks": mark_text("Webhooks and channels"),
        "audit": mark_text("Audit log"),
        "members": mark_text("Members"),
        "rights": mark_text("People's requests"),
        "grants": mark_text("Grants"),
    }
)


GRANT_STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "offered": (mark_text("offered"), "attention"),
        "active": (mark_text("active"), "good"),
        "suspended": (mark_text("suspended"), "attention"),
        "expired": (mark_text("expired"), ""),
        "revoked": (mark_text("revoked"), ""),
    }
)
"""The state of a grant, and the colour of its chip."""
GRANT_USES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "grant": mark_text("The grant itself"),
        "catalogue": mark_text("Catalogue of metrics"),
        "sites": mark_text("Sites"),
        "boxes": mark_text("Boxes"),
        "latest": mark_text("Latest values"),
        "readings": mark_text("Series"),
        "export": mark_text("Exports"),
        "stream": mark_text("Stream"),
        "sensorthings": mark_text("SensorThings"),
    }
)
"""What was read by a grant."""
GRANT_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "purpose": mark_text("Purpose"),
        "site_ids": mark_text("Sites"),
        "metrics": mark_text("Metrics"),
        "from": mark_text("Measured from"),
        "until": mark_text("Measured until"),
        "precision_m": mark_text("Positions to within"),
        "terms": mark_text("Terms"),
        "valid_until": mark_text("The grant ends"),
    }
)
"""The fields of a grant that its recipient accepts."""
GRANT_PRECISIONS: Final = (1, 10, 100, 1_000, 10_000)
"""The precisions of positions (m)."""


class AdministrationPart(NamedTuple):
    """A page of the administration.

    Attributes:
        name: Its name, the last part of its path.
        title: Its title in English.
        lead: What it is for, in English.
        scope: The scope that a person needs for it; `platform` for administrators of the platform.
    """

    name: str
    title: str
    lead: str
    scope: str


PARTS: Final = (
    AdministrationPart(
        "organisations",
        mark_text("Organisation"),
        mark_text("Name, security, quotas and their use"),
        "organisations:read",
    ),
    AdministrationPart(
        "members", mark_text("Members"), mark_text("People, their roles, invitations"), "members:read"
    ),
    AdministrationPart(
        "keys", mark_text("API keys"), mark_text("For programs that call the API"), "organisations:read"
    ),
    AdministrationPart(
        "purposes", mark_text("Purposes"), mark_text("Why each site measures, and approvals"), "sites:read"
    ),
    AdministrationPart(
        "requests", mark_text("Requests"), mark_text("People who use their data rights"), "rights:read"
    ),
    AdministrationPart(
        "grants", mark_text("Grants"), mark_text("Third parties that read measurements"), "grants:read"
    ),
    AdministrationPart("audit", mark_text("Audit log"), mark_text("Who did what, with proof"), "audit:read"),
    AdministrationPart("exports", mark_text("Exports"), mark_text("Measurements as files"), "telemetry:read"),
    AdministrationPart(
        "reports", mark_text("Reports"), mark_text("A day or a month of a site"), "telemetry:read"
    ),
    AdministrationPart(
        "settings", mark_text("Settings"), mark_text("Mail server and public address"), "platform"
    ),
    AdministrationPart(
        "cluster",
        mark_text("Cluster"),
        mark_text("The machines of this installation, and their state"),
        "platform",
    ),
)
"""The pages of the administration, in the order of its menu."""


class QuotaUse(NamedTuple):
    """A quota with its use.

    Attributes:
        name: Its name in the API.
        title: Its title in English.
        used: The number in use.
        limit: The quota; None: no limit.
        percent: The used part of the quota; None: no limit.
        state: The colour of its bar: `good`, `attention` or `bad`.
        refused: The number refused today.
        with_clients: Whether the items of clients count.
    """

    name: str
    title: str
    used: int
    limit: int | None
    percent: int | None
    state: str
    refused: int
    with_clients: bool


def list_quota_uses(usage: Mapping[str, Any], *, with_clients: bool) -> list[QuotaUse]:
    """Prepare the bars of an organisation's quotas.

    Args:
        usage: The answer of `GET /v1/organisations/{organisation_id}/usage`.
        with_clients: Whether the organisation can have clients.
    """
    names = [name for name in QUOTAS if with_clients or name != "clients"]
    return [_describe_use(name, usage[name]) for name in names]


def _describe_use(name: str, use: Mapping[str, Any]) -> QuotaUse:
    limit, used = use["limit"], use["used"]
    percent = None if limit is None else (_FULL if limit == 0 else min(_FULL, used * _FULL // limit))
    state = "good"
    if percent is not None and percent >= NEARLY_FULL:
        state = "bad" if percent >= _FULL else "attention"
    return QuotaUse(name, QUOTAS[name], used, limit, percent, state, use["refused"], use["with_clients"])


class OrganisationRow(NamedTuple):
    """An organisation in the tree, with its depth below the first one."""

    organisation: Mapping[str, Any]
    depth: int


def build_tree(organisations: Sequence[Mapping[str, Any]]) -> list[OrganisationRow]:
    """Order organisations as a tree: each below its parent, by name.

    An organisation whose parent is not among them is a root.
    """
    known = {each["id"] for each in organisations}
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for each in organisations:
        parent = each["parent_id"] if each["parent_id"] in known else None
        children.setdefault(parent, []).append(each)
    rows: list[OrganisationRow] = []

    def add(parent: str | None, depth: int) -> None:
        for each in sorted(children.get(parent, ()), key=lambda one: str(one["name"]).casefold()):
            rows.append(OrganisationRow(each, depth))
            add(each["id"], depth + 1)

    add(None, 0)
    return rows


class ScopeGroup(NamedTuple):
    """The scopes of one subject, with its title in English."""

    title: str
    scopes: list[str]


def group_scopes(held: Sequence[str]) -> list[ScopeGroup]:
    """Group the scopes that a person may give to a key, by subject."""
    groups: list[ScopeGroup] = []
    for prefix, title in SCOPE_GROUPS.items():
        own = [scope for scope in SCOPES if scope.startswith(f"{prefix}:") and ("*" in held or scope in held)]
        if own:
            groups.append(ScopeGroup(title, own))
    return groups
