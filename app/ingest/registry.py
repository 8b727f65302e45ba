"""What the pipeline knows of boxes, sites and rules, in memory, and exactly as new as its transaction.

The database counts up a version in each transaction that changes a box, a site or a rule, and stamps the
changed rows with it. A batch reads that one number first: while it stands still, nothing is read; when it
has moved, the rows stamped since are. So a rule that was created before a sample is always applied to it.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.core.database import RawConnection
from app.rules.evaluator import CompiledRule, SiteRules, compile_rule, compile_site
from app.rules.repository import load_changed

_NO_RULES = compile_site(())
_DAY_US = round(timedelta(days=1).total_seconds() * 1_000_000)


@dataclass(frozen=True, slots=True)
class BoxEntry:
    """A registered box.

    Attributes:
        key: what the hypertable refers to.
        id: its name on every topic.
        organisation_id: whose it is.
        site_id: where it stands.
        ack: whether it wants to be told what is committed.
    """

    key: int
    id: str
    organisation_id: UUID
    site_id: UUID
    ack: bool


class Registry:
    """One process's copy of boxes, sites and rules."""

    def __init__(self) -> None:
        self.version = 0
        self.boxes: dict[str, BoxEntry] = {}
        self._ids: dict[int, str] = {}
        self._rules: dict[UUID, CompiledRule] = {}
        self._retention_us: dict[UUID, int] = {}
        self._site_rules: dict[UUID, SiteRules] = {}

    async def refresh(self, connection: RawConnection) -> bool:
        """Bring the copy up to what the caller's transaction sees. Returns whether anything changed."""
        version: int = await connection.fetchval("SELECT version FROM registry")
        if version == self.version:
            return False
        await self._refresh_sites(connection)
        await self._refresh_boxes(connection)
        await self._refresh_rules(connection)
        # Read before the rows: what was committed in between is stamped later, and will be read again.
        self.version = version
        return True

    def retention_us(self, site_id: UUID) -> int | None:
        """How old a sample may be (µs); None where nothing is too old."""
        return self._retention_us.get(site_id)

    def rules_of(self, site_id: UUID) -> SiteRules:
        """The enabled rules of a site, ready to evaluate."""
        return self._site_rules.get(site_id, _NO_RULES)

    async def _refresh_sites(self, connection: RawConnection) -> None:
        rows = await connection.fetch(
            "SELECT id, retention_days FROM sites WHERE revision > $1", self.version
        )
        for site_id, days in rows:
            if days is None:
                self._retention_us.pop(site_id, None)
            else:
                self._retention_us[site_id] = days * _DAY_US

    async def _refresh_boxes(self, connection: RawConnection) -> None:
        rows = await connection.fetch(
            "SELECT key, id, organisation_id, site_id, ack, deleted_at IS NOT NULL AS deleted "
            "FROM boxes WHERE revision > $1 ORDER BY key",
            self.version,
        )
        for row in rows:
            # An id may have changed hands: forget what this key was called before.
            known = self._ids.pop(row["key"], None)
            if known is not None and self.boxes[known].key == row["key"]:
                del self.boxes[known]
            if row["deleted"]:
                continue
            self._ids[row["key"]] = row["id"]
            self.boxes[row["id"]] = BoxEntry(
                row["key"], row["id"], row["organisation_id"], row["site_id"], row["ack"]
            )

    async def _refresh_rules(self, connection: RawConnection) -> None:
        touched: set[UUID] = set()
        for row in await load_changed(connection, self.version):
            touched.add(row["site_id"])
            if row["enabled"] and not row["deleted"]:
                self._rules[row["id"]] = compile_rule(
                    id=row["id"],
                    version=row["version"],
                    organisation_id=row["organisation_id"],
                    site_id=row["site_id"],
                    name=row["name"],
                    severity=row["severity"],
                    condition=row["condition"],
                )
            else:
                self._rules.pop(row["id"], None)
        if not touched:
            return
        by_site: dict[UUID, list[CompiledRule]] = {site_id: [] for site_id in touched}
        for rule in self._rules.values():
            if rule.site_id in by_site:
                by_site[rule.site_id].append(rule)
        for site_id, rules in by_site.items():
            self._site_rules[site_id] = compile_site(rules)
