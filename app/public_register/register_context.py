"""Holds the database pool and the caches of the public register's routes.

The pool connects under a database role that sees the public views only.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Annotated, Final
from uuid import UUID

import asyncpg
from fastapi import Depends

from app.platform.db.database import Database, RawConnection
from app.platform.db.standby_reads import ReadSource, StandbyReads
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.public_register import queries
from app.public_register.change_history import ChangeHistoryPage, group_changes
from app.public_register.map_tiles import MapTileSource
from app.public_register.register_model import OpenData, PublishedSite, RecentMeasurements, RegisterSnapshot
from app.public_register.settings import RegisterSettings
from app.public_register.ttl_cache import TtlCache

CONNECTIONS: Final = 2
"""Database connections of a process for the register. Other routes have their own pool."""
REGISTER_TTL_S: Final = 5.0
"""Time to live of cached reads and pages (seconds); figures of open data live ten times as long."""
RECENT_TTL_S: Final = 60.0
"""Time to live of the newest values (seconds)."""
_POOL: Final = "register"
_OPEN_DATA_ENTRIES: Final = 32
_SEARCH_ENTRIES: Final = 16


@dataclass(frozen=True, slots=True)
class RegisterContext:
    """The register of a process.

    Attributes:
        pool: Connections to the primary, under the role that sees the public views only.
        reads: Runs reads under that role, on a standby where reads may run there.
        tiles: The background of the map.
        licence: The licence of open data for sites without a licence.
        cache: Reads and pages.
        open_data_cache: Open data. They are large, so a small cache bounds the memory that a crawler of all
            sites can fill.
        search_cache: Data of searches, in a small cache for the same reason.
    """

    pool: asyncpg.Pool
    reads: ReadSource[RawConnection]
    tiles: MapTileSource
    licence: str | None = None
    cache: TtlCache = field(default_factory=TtlCache)
    open_data_cache: TtlCache = field(default_factory=lambda: TtlCache(_OPEN_DATA_ENTRIES))
    search_cache: TtlCache = field(default_factory=lambda: TtlCache(_SEARCH_ENTRIES))

    @classmethod
    async def of(
        cls, database: Database, settings: RegisterSettings, standby_reads: StandbyReads
    ) -> "RegisterContext":
        """Create the context. Its connections open when they are first used."""
        pool = await database.pool(size=CONNECTIONS, name=_POOL, eager=False, role=queries.ROLE)
        reads = await standby_reads.make_pool_reads(pool, size=CONNECTIONS, name=_POOL, role=queries.ROLE)
        return cls(pool, reads, MapTileSource.of(settings), settings.licence or None)

    async def close(self) -> None:
        """Close the connections to the primary."""
        await self.pool.close()

    async def register(self) -> RegisterSnapshot:
        """Return all that is public, except figures and history."""
        return await self.cache.get("register", REGISTER_TTL_S, self._read)

    async def _read(self) -> RegisterSnapshot:
        return await self.reads.run(lambda each: queries.read_register(each, self.licence))

    async def site(self, site_id: str) -> tuple[RegisterSnapshot, PublishedSite]:
        """Return the register and one of its sites.

        Raises:
            NotFoundError: The register has no such site.
        """
        register = await self.register()
        found = register.sites.get(parse_id(site_id, "site"))
        if found is None:
            raise NotFoundError("site", site_id)
        return register, found

    async def open_data(self, register: RegisterSnapshot, site: PublishedSite) -> OpenData:
        """Return the published figures of a site."""

        async def read() -> OpenData:
            return await self.reads.run(lambda each: queries.read_open_data(each, site, register.at))

        return await self.open_data_cache.get(_open_data_key(site), 10 * REGISTER_TTL_S, read)

    async def recent(self, site: PublishedSite) -> RecentMeasurements:
        """Return the newest published values of a site, and its last 24 hours."""

        async def read() -> RecentMeasurements:
            return await self.reads.run(lambda each: queries.read_recent(each, site))

        return await self.open_data_cache.get(("recent", _open_data_key(site)), RECENT_TTL_S, read)

    async def changes(self, site_id: UUID | None, before: int | None = None) -> ChangeHistoryPage:
        """Return a page of the history.

        Args:
            site_id: The site; None: all sites.
            before: The cursor: only changes with smaller ids; None: the first page.
        """

        async def read() -> ChangeHistoryPage:
            found = await self.reads.run(lambda each: queries.read_changes(each, site_id, before))
            is_all = len(found) < queries.HISTORY_READ_LIMIT
            return group_changes(found, queries.HISTORY_PAGE_SIZE, is_all=is_all)

        return await self.cache.get(("changes", site_id, before), REGISTER_TTL_S, read)


def _open_data_key(site: PublishedSite) -> Hashable:
    """The part of a cache key on which a site's open data depend: a changed decision takes effect at once."""
    starts = site.metric_starts
    return site.id, tuple((metric, starts.get(metric)) for metric in site.open_metrics)


Context = Annotated[RegisterContext, Depends(make_resource_dependency(RegisterContext))]
"""FastAPI dependency: the process's register."""
