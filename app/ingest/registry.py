"""What the pipeline knows of boxes, sites and rules, in memory, and exactly as new as its transaction.

The database counts up a version in each transaction that changes a box, a site or a rule, and stamps the
changed rows with it. A batch reads that one number first: while it stands still, nothing is read; when it
has moved, the rows stamped since are. So a rule that was created before a sample is always applied to it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from operator import attrgetter
from typing import Final
from uuid import UUID

import asyncpg

from app.core.database import RawConnection
from app.core.observability import get_logger
from app.rules.evaluator import CompiledRule, SiteRules, compile_rule, compile_site
from app.rules.repository import ChangedRule, load_changed

_log = get_logger(__name__)
_VERSION: Final = "SELECT version FROM registry"
_SITES: Final = "SELECT id, retention_days FROM sites WHERE revision > $1"
_BOXES: Final = (
    "SELECT key, id, organisation_id, site_id, ack, deleted_at IS NOT NULL AS deleted, "
    "coalesce((extract(epoch FROM shared_until) * 1000000)::bigint, 0) AS shared_until_us "
    "FROM boxes WHERE revision > $1 ORDER BY key"
)
_NO_RULES = compile_site(())
_site_of = attrgetter("site_id")
_DAY_US = round(timedelta(days=1).total_seconds() * 1_000_000)


@dataclass(slots=True, eq=False)
class BoxEntry:
    """A registered box. Nobody changes it: a box that was changed has a new one.

    Attributes:
        key: what the hypertable refers to.
        id: its name on every topic.
        organisation_id: whose it is.
        site_id: where it stands.
        ack: whether it wants to be told what is committed.
        shared_until_us: until when other processes too may write to it (µs since the epoch; 0: never did).
    """

    key: int
    id: str
    organisation_id: UUID
    site_id: UUID
    ack: bool
    shared_until_us: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a refresh has brought: whose states may have been changed by somebody else.

    Attributes:
        boxes: keys of boxes that were made, changed or deleted.
        sites: those whose rules were.
        everything: the copy was read anew as a whole.
    """

    boxes: frozenset[int] = frozenset()
    sites: frozenset[UUID] = frozenset()
    everything: bool = False


_NOTHING = Changes()


class Registry:
    """One process's copy of boxes, sites and rules.

    Attributes:
        version: of the database's counter when the copy was made.
        boxes: by id.
        shared: key → `shared_until_us` of those that were ever shared.
    """

    def __init__(self) -> None:
        self.version = 0
        self.boxes: dict[str, BoxEntry] = {}
        self.shared: dict[int, int] = {}
        self._ids: dict[int, str] = {}
        self._rules: dict[UUID, CompiledRule] = {}
        self._retention_us: dict[UUID, int] = {}
        self._site_rules: dict[UUID, SiteRules] = {}
        self._refreshing = asyncio.Lock()

    async def refresh(self, connection: RawConnection) -> Changes:
        """Bring the copy up to what the caller's transaction sees."""
        if await connection.fetchval(_VERSION) == self.version:
            return _NOTHING
        # One at a time: of two that read at once, the slower would put older rows over newer ones.
        async with self._refreshing:
            version: int = await connection.fetchval(_VERSION)
            if version == self.version:
                return _NOTHING
            # Versions only go back when the database was restored from a backup: then all is read again.
            since = self.version if version > self.version else 0
            sites = await connection.fetch(_SITES, since)
            boxes = await connection.fetch(_BOXES, since)
            rules = await load_changed(connection, since)
            # From here on nothing waits: others never see a half of it.
            if not since:
                self._forget()
            self._take_sites(sites)
            self._take_boxes(boxes)
            self._take_rules(rules)
            # Read before the rows: what was committed in between is stamped later, and will be read again.
            self.version = version
            return Changes(
                frozenset(row["key"] for row in boxes),
                frozenset(row["site_id"] for row in rules),
                everything=not since,
            )

    @property
    def keeps_everything(self) -> bool:
        """Whether no site has a retention: nothing is too old."""
        return not self._retention_us

    def retention_us(self, site_id: UUID) -> int | None:
        """How old a sample may be (µs); None where nothing is too old."""
        return self._retention_us.get(site_id)

    def rules_of(self, site_id: UUID) -> SiteRules:
        """The enabled rules of a site, ready to evaluate."""
        return self._site_rules.get(site_id, _NO_RULES)

    def rules_of_each(self, boxes: Iterable[BoxEntry]) -> list[SiteRules]:
        """The same for the site of each box."""
        return list(map(self._site_rules.get, map(_site_of, boxes), repeat(_NO_RULES)))

    def _forget(self) -> None:
        for copy in (self.boxes, self.shared, self._ids, self._rules, self._retention_us, self._site_rules):
            copy.clear()

    def _take_sites(self, rows: Sequence[asyncpg.Record]) -> None:
        for site_id, days in rows:
            if days is None:
                self._retention_us.pop(site_id, None)
            else:
                self._retention_us[site_id] = days * _DAY_US

    def _take_boxes(self, rows: Sequence[asyncpg.Record]) -> None:
        for row in rows:
            # An id may have changed hands: forget what this key was called before.
            known = self._ids.pop(row["key"], None)
            if known is not None and self.boxes[known].key == row["key"]:
                del self.boxes[known]
            self.shared.pop(row["key"], None)
            if row["deleted"]:
                continue
            self._ids[row["key"]] = row["id"]
            self.boxes[row["id"]] = BoxEntry(
                row["key"],
                row["id"],
                row["organisation_id"],
                row["site_id"],
                row["ack"],
                row["shared_until_us"],
            )
            if row["shared_until_us"]:
                self.shared[row["key"]] = row["shared_until_us"]

    def _take_rules(self, rows: Sequence[ChangedRule]) -> None:
        for row in rows:
            self._rules.pop(row["id"], None)
            if row["enabled"] and not row["deleted"]:
                self._take_rule(row)
        touched = {row["site_id"] for row in rows}
        if not touched:
            return
        by_site: dict[UUID, list[CompiledRule]] = {site_id: [] for site_id in touched}
        for rule in self._rules.values():
            if rule.site_id in by_site:
                by_site[rule.site_id].append(rule)
        for site_id, rules in by_site.items():
            self._site_rules[site_id] = compile_site(rules)

    def _take_rule(self, row: ChangedRule) -> None:
        try:
            self._rules[row["id"]] = compile_rule(
                id=row["id"],
                version=row["version"],
                organisation_id=row["organisation_id"],
                site_id=row["site_id"],
                name=row["name"],
                severity=row["severity"],
                condition=row["condition"],
            )
        except (LookupError, TypeError, ValueError) as error:
            # Of a newer version, or written by hand: one rule must not stop every sample.
            _log.error("rule_not_understood", rule_id=str(row["id"]), error=repr(error))
