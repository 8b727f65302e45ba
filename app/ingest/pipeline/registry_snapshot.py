"""Caches boxes, sites, declared purposes and rules in memory. Each batch first loads what has changed.

The database raises a version in each transaction that changes a box, a site, a purpose or a rule, and stamps
the changed rows with it. A batch reads that number first and then only the rows stamped since. A rule that
was created before a sample is therefore always applied to it, and nothing is stored for a purpose that ended
before. The row of a deleted box does not stay for long: a refresh after a pause also looks for missing rows.

A transaction uses one snapshot from its beginning to its end.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from app.ingest.pipeline.rule_assignments import NO_RULES, RuleAssignments
from app.message_log.partitions import OwnedPartitions
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import US_PER_S
from app.registry import cross_tenant_repository
from app.registry.purpose_policy import NOTHING_DECLARED, PurposePolicy, SitePurposePolicies
from app.registry.site_retention import RetentionSettings, SampleAgeLimits
from app.rules.definitions.rule_queries import ChangedRule, load_changed_rules
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.threshold_evaluator import BoxRuleSet

_VERSION: Final = (
    "SELECT version, marks_epoch, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM registry"
)
# Far below the grace: clocks differ, a deletion may be committed late, a process may stand still in between.
_LONGEST_GAP_S: Final = cross_tenant_repository.PURGE_GRACE.total_seconds() / 4
_key_of = attrgetter("key")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True, eq=False)
class RegisteredBox:
    """A registered box. It is immutable: a changed box gets a new object.

    Attributes:
        key: its key in the hypertable.
        id: its id on every topic.
        organisation_id: its organisation.
        site_id: its site.
        ack: whether it asks for acknowledgements of commits.
        shared_until_us: until when other processes may write to it too (µs since the epoch; 0: never).
        interval_s: its sampling interval in seconds.
        kind, tags, attributes: what rules can select it by.
        organisation_number: index of its organisation in `RegistrySnapshot.organisations`. Counting numbers
            is faster than counting ids.
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
    """The changes that a refresh found: the boxes and sites whose cached states may be outdated.

    Attributes:
        boxes: keys of boxes that were created, changed or deleted.
        sites: sites with changed rules, time zone or attributes.
        touched: the former and present sites of these boxes.
        everything: whether the whole copy was read again.
        epoch: the epoch of marks (`app.timeseries.rollups.stale_marks`) in the caller's transaction.
        at_us: when it was read, by the database's clock (µs since the epoch). The end of a purpose is taken
            from the same clock, so a purpose that ends after this commit ends later.
    """

    boxes: frozenset[int] = frozenset()
    sites: frozenset[UUID] = frozenset()
    touched: frozenset[UUID] = frozenset()
    everything: bool = False
    epoch: int = -1
    at_us: int = 0


class _Site(NamedTuple):
    """The facts of a site that rules use."""

    timezone: str
    attributes: Mapping[str, Any]


class _RulesOfBoxes(dict[int, BoxRuleSet]):
    """Rule sets by box key, compiled on first use."""

    def __init__(self, snapshot: "RegistrySnapshot") -> None:
        super().__init__()
        self._snapshot = snapshot

    def __missing__(self, key: int) -> BoxRuleSet:
        found = self[key] = self._snapshot.find_rules(key)
        return found


class RegistrySnapshot:
    """Boxes, sites and rules at one version.

    Attributes:
        boxes: boxes by id.
        shared: box key → `shared_until_us` of the boxes that were ever shared.
        erased: box key → erased ranges (µs, the end excluded), in which no sample is accepted.
        by_site: site → keys of its boxes; the sets are immutable.
        organisations: the organisations that have or had boxes.
        readers: number of transactions that use the snapshot; it is not changed while there is one.
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
        """Return a copy that can be changed."""
        made = RegistrySnapshot(self._rule_assignments.copy())
        made.boxes, made.shared, made.by_site = dict(self.boxes), dict(self.shared), dict(self.by_site)
        # Entries of these are never removed or changed, so all snapshots share them.
        made.organisations, made._numbers = self.organisations, self._numbers
        made._ids, made._site_of = dict(self._ids), dict(self._site_of)
        made.erased, made._sites = dict(self.erased), dict(self._sites)
        made._age_limits, made._max_event_ages_us = dict(self._age_limits), dict(self._max_event_ages_us)
        made._purpose_policies = dict(self._purpose_policies)
        return made

    @property
    def box_keys(self) -> Collection[int]:
        """The keys of all boxes."""
        return self._ids.keys()

    @property
    def accepts_any_time(self) -> bool:
        """Whether no sample can be refused for its time: no site has a retention, and nothing was erased."""
        return not self._age_limits and not self.erased

    @property
    def has_stateful_rules(self) -> bool:
        """Whether any rule must see every sample."""
        return self._rule_assignments.has_stateful_rules

    def age_limits(self, site_id: UUID) -> SampleAgeLimits | None:
        """Return how old samples of a site may be; None for any age."""
        return self._age_limits.get(site_id)

    def find_max_event_age_us(self, site_id: UUID, purpose: str) -> int | None:
        """Return how old an event for a purpose may be (µs); None for any age."""
        age_limits = self._max_event_ages_us.get(site_id)
        return None if age_limits is None else age_limits.get(purpose)

    def allows_every_metric(self, now_us: int) -> bool:
        """Whether every site may store every metric, so that no sample is refused for its purpose."""
        if self._first_refusal_us is None:
            self._first_refusal_us = min(
                (each.first_refusal_us for each in self._purpose_policies.values()), default=now_us + 1
            )
        return now_us < self._first_refusal_us

    def restricted_sites(self, now_us: int) -> frozenset[UUID]:
        """Return the sites that may not store every metric."""
        if self.allows_every_metric(now_us):
            return frozenset()
        return frozenset(
            site for site, each in self._purpose_policies.items() if each.first_refusal_us <= now_us
        )

    def purpose_policies(self, site_id: UUID) -> SitePurposePolicies:
        """Return the declared purposes of a site."""
        return self._purpose_policies.get(site_id, NOTHING_DECLARED)

    def is_erased(self, key: int, time_us: int) -> bool:
        """Whether the samples of a box at this time were erased."""
        return any(first <= time_us < last for first, last in self.erased.get(key, ()))

    def box(self, key: int) -> RegisteredBox | None:
        """Return the box with this key if it is registered."""
        box_id = self._ids.get(key)
        return None if box_id is None else self.boxes[box_id]

    def facts(self, box: RegisteredBox) -> BoxFacts:
        """Return the facts of a box that rules use. Its attributes override those of the site."""
        site = self._sites.get(box.site_id)
        attributes = box.attributes if site is None else {**site.attributes, **box.attributes}
        return BoxFacts(box.key, box.id, box.interval_s, box.kind, box.tags, attributes)

    def find_rules(self, key: int) -> BoxRuleSet:
        """Return the compiled, enabled rules of a box."""
        box = self.box(key)
        site = None if box is None else self._sites.get(box.site_id)
        if box is None or site is None:
            return NO_RULES
        return self._rule_assignments.find_rules(box.site_id, site.timezone, site.attributes, self.facts(box))

    def find_rules_of_each(self, boxes: Iterable[RegisteredBox]) -> list[BoxRuleSet]:
        """Return the enabled rules of each box."""
        return list(map(self._rules_of.__getitem__, map(_key_of, boxes)))

    def find_boxes_with_timers(self, owned: OwnedPartitions | None = None) -> Iterator[int]:
        """Yield the keys of boxes, of some partitions or all, whose rules can change without a new sample."""
        boxes = [box for box in self.boxes.values() if owned is None or owned.owns_site(box.site_id)]
        for box, rules in zip(boxes, self.find_rules_of_each(boxes), strict=True):
            if rules.timed or any(rule.timed or rule.hours is not None for rule in rules.across):
                yield box.key

    def apply(
        self,
        sites: Sequence[asyncpg.Record],
        boxes: Sequence[asyncpg.Record],
        rules: Sequence[ChangedRule],
        purposes: Sequence[asyncpg.Record] = (),
        purged: Sequence[int] = (),
    ) -> RegistryChanges:
        """Apply created, changed and deleted rows, and return what they may affect.

        Args:
            sites: rows of sites.
            boxes: rows of boxes.
            rules: rules.
            purposes: rows of declared purposes.
            purged: keys of deleted boxes that have no row any more.
        """
        altered = self._apply_sites(sites)
        self._apply_purposes(purposes)
        touched = self._apply_boxes(boxes, purged)
        self._rule_assignments.apply(rules)
        self._rules_of.clear()
        altered |= {row["site_id"] for row in rules}
        keys = frozenset((*purged, *(row["key"] for row in boxes)))
        return RegistryChanges(keys, frozenset(altered), frozenset(touched))

    def _apply_sites(self, rows: Sequence[asyncpg.Record]) -> set[UUID]:
        """Apply rows of sites; returns the sites whose rules must be compiled again."""
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
        """Apply rows of declared purposes."""
        changed: dict[UUID, dict[str, PurposePolicy]] = {}
        for site_id, purpose, starts_us, ends_us, approved in rows:
            changed.setdefault(site_id, {})[purpose] = PurposePolicy(starts_us, ends_us, approved)
        for site_id, permits in changed.items():
            self._purpose_policies[site_id] = SitePurposePolicies(
                {**self.purpose_policies(site_id).permits, **permits}
            )
        if changed:
            self._first_refusal_us = None

    def _apply_boxes(self, rows: Sequence[asyncpg.Record], purged: Sequence[int]) -> set[UUID]:
        """Apply rows of boxes, and remove purged ones; returns their former and present sites."""
        gone: dict[UUID, set[int]] = {}
        come: dict[UUID, set[int]] = {}
        for key in (*purged, *(row["key"] for row in rows)):
            # The id may belong to another box now: remove the former id of this key.
            known = self._ids.pop(key, None)
            if known is not None and self.boxes[known].key == key:
                del self.boxes[known]
            stood = self._site_of.pop(key, None)
            if stood is not None:
                gone.setdefault(stood, set()).add(key)
            self.shared.pop(key, None)
            self.erased.pop(key, None)
        for row in (each for each in rows if not each["deleted"]):
            key = row["key"]
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
    """The copy of boxes, sites and rules of one process.

    Args:
        longest_gap_s: a refresh after a longer pause looks for missing rows.

    Attributes:
        version: the version of the copy in the database.
        snapshot: the newest snapshot.
    """

    def __init__(self, longest_gap_s: float = _LONGEST_GAP_S) -> None:
        self.version = 0
        self.snapshot = RegistrySnapshot()
        self._longest_gap_us = round(longest_gap_s * US_PER_S)
        # When the copy was last known to be current, by the database's clock as the purge of boxes.
        self._current_us = 0
        self._refreshing = asyncio.Lock()

    async def invalidate(self) -> None:
        """Have the next refresh read everything again."""
        async with self._refreshing:
            self.version = 0

    async def refresh(self, connection: RawConnection) -> RegistryChanges:
        """Update the copy to the version that the caller's transaction sees."""
        version, unchanged = await self._read_version(connection)
        if version == self.version:
            return unchanged
        # One at a time: of two concurrent refreshes the slower would overwrite newer rows with older ones.
        async with self._refreshing:
            version, unchanged = await self._read_version(connection)
            if version == self.version:
                return unchanged
            # The version only decreases when a backup was restored: then everything is read again.
            since = self.version if version > self.version else 0
            sites = await cross_tenant_repository.load_changed_sites(connection, since)
            boxes = await cross_tenant_repository.load_changed_boxes(connection, since)
            rules = await load_changed_rules(connection, since)
            purposes = await cross_tenant_repository.load_changed_purposes(connection, since)
            purged: list[int] = []
            if since and unchanged.at_us - self._current_us > self._longest_gap_us:
                purged = await cross_tenant_repository.find_purged_boxes(connection, self.snapshot.box_keys)
            # No await from here on, so other tasks never see a partial update.
            if not since:
                self.snapshot = RegistrySnapshot()
            elif self.snapshot.readers:
                self.snapshot = self.snapshot.copy()
            changes = self.snapshot.apply(sites, boxes, rules, purposes, purged)
            # The version was read before the rows: rows committed in between are read again next time.
            self.version, self._current_us = version, unchanged.at_us
            return changes._replace(everything=not since, epoch=unchanged.epoch, at_us=unchanged.at_us)

    async def _read_version(self, connection: RawConnection) -> tuple[int, RegistryChanges]:
        """Read the version in the database; returns it with the changes of a refresh that finds none."""
        ((version, epoch, at_us),) = await connection.fetch(_VERSION)
        if version == self.version:
            self._current_us = at_us
        return version, RegistryChanges(epoch=epoch, at_us=at_us)
