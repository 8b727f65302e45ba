"""What the pipeline knows of boxes, sites and rules, in memory, and exactly as new as its transaction.

The database counts up a version in each transaction that changes a box, a site, a purpose or a rule, and
stamps the changed rows with it. A batch reads that one number first: while it stands still, nothing is read;
when it has moved, the rows stamped since are. So a rule that was created before a sample is always applied to
it, and nothing is stored for a purpose that was ended before.

A transaction works on one edition from its beginning to its end, whatever others read meanwhile.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from app.ingest.pipeline.rule_assignments import NO_RULES, RuleAssignments
from app.platform.db.database import RawConnection
from app.registry.purpose_policy import NOTHING_DECLARED, PurposePolicy, SitePurposePolicies
from app.registry.retention_settings import RetentionSettings, SampleAgeLimits
from app.rules.definitions.repository import ChangedRule, load_changed_rules
from app.rules.engine.snapshot import BoxFacts
from app.rules.engine.threshold_evaluator import BoxRuleSet

_VERSION: Final = (
    "SELECT version, marks_epoch, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM registry"
)
_SITES: Final = (
    "SELECT id, retention_days, retention_purposes::text AS purposes, retention_removes AS removes, "
    "timezone, attributes::text AS attributes FROM sites WHERE revision > $1"
)
_BOXES: Final = (
    "SELECT key, id, organisation_id, site_id, ack, deleted_at IS NOT NULL AS deleted, "
    "coalesce((extract(epoch FROM shared_until) * 1000000)::bigint, 0) AS shared_until_us, "
    "interval_s, kind, tags, attributes::text AS attributes, "
    # A range of all that was has no beginning.
    "CASE WHEN NOT isempty(erased) THEN ARRAY(SELECT ARRAY[coalesce((extract(epoch FROM lower(r)) * 1000000)"
    "::bigint, 0), (extract(epoch FROM upper(r)) * 1000000)::bigint] FROM unnest(erased) AS r) END AS erased "
    "FROM boxes WHERE revision > $1 ORDER BY key"
)
_PURPOSES: Final = (
    "SELECT site_id, purpose, (extract(epoch FROM starts_at) * 1000000)::bigint AS starts_us, "
    "(extract(epoch FROM ends_at) * 1000000)::bigint AS ends_us, approved_at IS NOT NULL AS approved "
    "FROM site_purposes WHERE revision > $1"
)
_key_of = attrgetter("key")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True, eq=False)
class RegisteredBox:
    """A registered box. Nobody changes it: a box that was changed has a new one.

    Attributes:
        key: what the hypertable refers to.
        id: its name on every topic.
        organisation_id: whose it is.
        site_id: where it stands.
        ack: whether it wants to be told what is committed.
        shared_until_us: until when other processes too may write to it (µs since the epoch; 0: never did).
        interval_s: how often it samples, in seconds.
        kind, tags, attributes: what rules may ask of it.
        owner: the number of its organisation in `RegistrySnapshot.owners`: numbers are counted sooner than
        ids.
    """

    key: int
    id: str
    organisation_id: UUID
    site_id: UUID
    ack: bool
    shared_until_us: int
    interval_s: int = 60
    kind: str | None = None
    tags: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    organisation_number: int = 0


class RegistryChanges(NamedTuple):
    """What a refresh has brought: whose states may have been changed by somebody else.

    Attributes:
        boxes: keys of boxes that were made, changed or deleted.
        sites: those whose rules were, or their time zone, or their attributes.
        touched: the sites where these boxes stood, or stand now.
        everything: the copy was read anew as a whole.
        epoch: that of marks (`app.timeseries.rollups.stale_marks`), as the caller's transaction sees it.
        at_us: when it was read, by the database's clock (µs since the epoch). Whoever ends a purpose takes
            the time from the same clock: what begins after that is committed is later.
    """

    boxes: frozenset[int] = frozenset()
    sites: frozenset[UUID] = frozenset()
    touched: frozenset[UUID] = frozenset()
    everything: bool = False
    epoch: int = -1
    at_us: int = 0


_NOTHING: Final = RegistryChanges()


@dataclass(frozen=True, slots=True)
class _Site:
    """What rules may ask of a site."""

    timezone: str
    attributes: Mapping[str, Any]


class _RulesOfBoxes(dict[int, BoxRuleSet]):
    """Box key → its rules, found out when they are first asked for."""

    def __init__(self, snapshot: "RegistrySnapshot") -> None:
        super().__init__()
        self._snapshot = snapshot

    def __missing__(self, key: int) -> BoxRuleSet:
        found = self[key] = self._snapshot.find_rules(key)
        return found


class RegistrySnapshot:
    """Boxes, sites and rules as they were at one version.

    Attributes:
        boxes: by id.
        shared: key → `shared_until_us` of those that were ever shared.
        erased: key → the ranges (µs, the end excluded) of which nothing is taken, where there are some.
        by_site: site → keys of its boxes; a set is never changed.
        owners: the organisations that have boxes, or had some.
        readers: how many transactions work on it; it is not changed as long as one does.
    """

    def __init__(self, rule_assignments: RuleAssignments | None = None) -> None:
        self.boxes: dict[str, RegisteredBox] = {}
        self.shared: dict[int, int] = {}
        self.erased: dict[int, Sequence[Sequence[int]]] = {}
        self.by_site: dict[UUID, frozenset[int]] = {}
        self.readers = 0
        self.organisations: list[UUID] = []
        self._numbers: dict[UUID, int] = {}
        self._ids: dict[int, str] = {}
        self._site_of: dict[int, UUID] = {}
        self._age_limits: dict[UUID, SampleAgeLimits] = {}
        self._max_event_ages_us: dict[UUID, Mapping[str, int]] = {}
        self._purpose_policies: dict[UUID, SitePurposePolicies] = {}
        self._first_refusal_us: int | None = None
        self._sites: dict[UUID, _Site] = {}
        self._rule_assignments = RuleAssignments() if rule_assignments is None else rule_assignments
        self._rules_of = _RulesOfBoxes(self)

    def copy(self) -> "RegistrySnapshot":
        """Another one that says the same, and can be changed."""
        made = RegistrySnapshot(self._rule_assignments.copy())
        made.boxes, made.shared, made.by_site = dict(self.boxes), dict(self.shared), dict(self.by_site)
        # Nothing of these is ever taken away or changed: all editions have the same.
        made.organisations, made._numbers = self.organisations, self._numbers
        made._ids, made._site_of = dict(self._ids), dict(self._site_of)
        made.erased, made._sites = dict(self.erased), dict(self._sites)
        made._age_limits, made._max_event_ages_us = dict(self._age_limits), dict(self._max_event_ages_us)
        made._purpose_policies = dict(self._purpose_policies)
        return made

    @property
    def accepts_any_time(self) -> bool:
        """Whether no site has a retention, and nothing was erased: no sample is refused for its time."""
        return not self._age_limits and not self.erased

    @property
    def has_stateful_rules(self) -> bool:
        """Whether any rule has to see every sample."""
        return self._rule_assignments.has_stateful_rules

    def age_limits(self, site_id: UUID) -> SampleAgeLimits | None:
        """How old samples may be; None where nothing is too old."""
        return self._age_limits.get(site_id)

    def find_max_event_age_us(self, site_id: UUID, purpose: str) -> int | None:
        """How old an event for a purpose may be (µs); None where none is too old."""
        age_limits = self._max_event_ages_us.get(site_id)
        return None if age_limits is None else age_limits.get(purpose)

    def allows_every_metric(self, now_us: int) -> bool:
        """Whether every site may take whatever is measured, so that no sample is refused for its purpose."""
        if self._first_refusal_us is None:
            self._first_refusal_us = min(
                (each.first_refusal_us for each in self._purpose_policies.values()), default=now_us + 1
            )
        return now_us < self._first_refusal_us

    def restricted_sites(self, now_us: int) -> frozenset[UUID]:
        """The sites that may not take all that is measured."""
        if self.allows_every_metric(now_us):
            return frozenset()
        return frozenset(
            site for site, each in self._purpose_policies.items() if each.first_refusal_us <= now_us
        )

    def purpose_policies(self, site_id: UUID) -> SitePurposePolicies:
        """What a site may take."""
        return self._purpose_policies.get(site_id, NOTHING_DECLARED)

    def is_erased(self, key: int, time_us: int) -> bool:
        """Whether what a box measured then was erased."""
        return any(first <= time_us < last for first, last in self.erased.get(key, ()))

    def box(self, key: int) -> RegisteredBox | None:
        """The box of this key, if it is registered."""
        box_id = self._ids.get(key)
        return None if box_id is None else self.boxes[box_id]

    def facts(self, box: RegisteredBox) -> BoxFacts:
        """What rules may ask of a box: its attributes have the site's under them."""
        site = self._sites.get(box.site_id)
        attributes = box.attributes if site is None else {**site.attributes, **box.attributes}
        return BoxFacts(box.key, box.id, box.interval_s, box.kind, box.tags, attributes)

    def find_rules(self, key: int) -> BoxRuleSet:
        """The enabled rules of a box, ready to evaluate."""
        box = self.box(key)
        site = None if box is None else self._sites.get(box.site_id)
        if box is None or site is None:
            return NO_RULES
        return self._rule_assignments.find_rules(box.site_id, site.timezone, site.attributes, self.facts(box))

    def find_rules_of_each(self, boxes: Iterable[RegisteredBox]) -> list[BoxRuleSet]:
        """The enabled rules of each box."""
        return list(map(self._rules_of.__getitem__, map(_key_of, boxes)))

    def find_boxes_with_timers(self) -> Iterator[int]:
        """Keys of the boxes on which something may be due though nothing comes."""
        boxes = self.boxes.values()
        for box, rules in zip(boxes, self.find_rules_of_each(boxes), strict=True):
            if rules.timed or any(rule.timed or rule.hours is not None for rule in rules.across):
                yield box.key

    def apply(
        self,
        sites: Sequence[asyncpg.Record],
        boxes: Sequence[asyncpg.Record],
        rules: Sequence[ChangedRule],
        purposes: Sequence[asyncpg.Record] = (),
    ) -> RegistryChanges:
        """Take rows that were made, changed or deleted; says what this may have changed."""
        altered = self._apply_sites(sites)
        self._apply_purposes(purposes)
        touched = self._apply_boxes(boxes)
        self._rule_assignments.apply(rules)
        self._rules_of.clear()
        altered |= {row["site_id"] for row in rules}
        return RegistryChanges(frozenset(row["key"] for row in boxes), frozenset(altered), frozenset(touched))

    def _apply_sites(self, rows: Sequence[asyncpg.Record]) -> set[UUID]:
        """Take sites; returns those whose rules mean something else now."""
        altered = set()
        for site_id, days, purposes, removes, timezone, attributes in rows:
            retention = RetentionSettings.of_columns(days, purposes, None, removes=removes)
            _set(self._age_limits, site_id, SampleAgeLimits.of(retention))
            _set(self._max_event_ages_us, site_id, retention.event_ages_us() or None)
            site = _Site(timezone, _decode(attributes))
            if self._sites.get(site_id) != site:
                self._sites[site_id] = site
                altered.add(site_id)
        return altered

    def _apply_purposes(self, rows: Sequence[asyncpg.Record]) -> None:
        """Take what sites have declared."""
        changed: dict[UUID, dict[str, PurposePolicy]] = {}
        for site_id, purpose, starts_us, ends_us, approved in rows:
            changed.setdefault(site_id, {})[purpose] = PurposePolicy(starts_us, ends_us, approved)
        for site_id, permits in changed.items():
            self._purpose_policies[site_id] = SitePurposePolicies(
                {**self.purpose_policies(site_id).permits, **permits}
            )
        if changed:
            self._first_refusal_us = None

    def _apply_boxes(self, rows: Sequence[asyncpg.Record]) -> set[UUID]:
        """Take boxes; returns the sites where they stood and stand."""
        gone: dict[UUID, set[int]] = {}
        come: dict[UUID, set[int]] = {}
        for row in rows:
            key = row["key"]
            # An id may have changed hands: forget what this key was called before.
            known = self._ids.pop(key, None)
            if known is not None and self.boxes[known].key == key:
                del self.boxes[known]
            stood = self._site_of.pop(key, None)
            if stood is not None:
                gone.setdefault(stood, set()).add(key)
            self.shared.pop(key, None)
            self.erased.pop(key, None)
            if row["deleted"]:
                continue
            self._ids[key] = row["id"]
            self.boxes[row["id"]] = _entry(row, self._number(row["organisation_id"]))
            come.setdefault(row["site_id"], set()).add(key)
            self._site_of[key] = row["site_id"]
            if row["shared_until_us"]:
                self.shared[key] = row["shared_until_us"]
            if row["erased"]:
                self.erased[key] = row["erased"]
        sites = gone.keys() | come.keys()
        for site_id in sites:
            left = self.by_site.get(site_id, frozenset()) - gone.get(site_id, set())
            self.by_site[site_id] = left | come.get(site_id, set())
        return set(sites)

    def _number(self, organisation_id: UUID) -> int:
        number = self._numbers.setdefault(organisation_id, len(self.organisations))
        if number == len(self.organisations):
            self.organisations.append(organisation_id)
        return number


def _set[T](known: dict[UUID, T], site_id: UUID, value: T | None) -> None:
    if value is None:
        known.pop(site_id, None)
    else:
        known[site_id] = value


def _entry(row: asyncpg.Record, organisation_number: int) -> RegisteredBox:
    return RegisteredBox(
        row["key"],
        row["id"],
        row["organisation_id"],
        row["site_id"],
        row["ack"],
        row["shared_until_us"],
        row["interval_s"],
        row["kind"],
        frozenset(row["tags"]),
        _decode(row["attributes"]),
        organisation_number,
    )


class RegistryCache:
    """One process's copy of boxes, sites and rules.

    Attributes:
        version: of the database's counter when the copy was made.
        edition: the newest.
    """

    def __init__(self) -> None:
        self.version = 0
        self.snapshot = RegistrySnapshot()
        self._refreshing = asyncio.Lock()

    async def refresh(self, connection: RawConnection) -> RegistryChanges:
        """Bring the copy up to what the caller's transaction sees."""
        ((version, epoch, at_us),) = await connection.fetch(_VERSION)
        if version == self.version:
            return _NOTHING._replace(epoch=epoch, at_us=at_us)
        # One at a time: of two that read at once, the slower would put older rows over newer ones.
        async with self._refreshing:
            ((version, epoch, at_us),) = await connection.fetch(_VERSION)
            if version == self.version:
                return _NOTHING._replace(epoch=epoch, at_us=at_us)
            # Versions only go back when the database was restored from a backup: then all is read again.
            since = self.version if version > self.version else 0
            sites = await connection.fetch(_SITES, since)
            boxes = await connection.fetch(_BOXES, since)
            rules = await load_changed_rules(connection, since)
            purposes = await connection.fetch(_PURPOSES, since)
            # From here on nothing waits: others never see a half of it.
            if not since:
                self.snapshot = RegistrySnapshot()
            elif self.snapshot.readers:
                self.snapshot = self.snapshot.copy()
            changes = self.snapshot.apply(sites, boxes, rules, purposes)
            # Read before the rows: what was committed in between is stamped later, and will be read again.
            self.version = version
            return changes._replace(everything=not since, epoch=epoch, at_us=at_us)
