"""What the register's routes stand on: connections that see what is public and nothing else, and a shelf."""

from dataclasses import dataclass, field
from typing import Annotated, Final
from uuid import UUID

import asyncpg
from fastapi import Depends, Request

from app.platform.config.register_settings import RegisterSettings
from app.platform.db.database import Database
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.public_register import queries
from app.public_register.change_history import ChangeHistoryPage, group_changes
from app.public_register.map_tiles import MapTileSource
from app.public_register.register_model import OpenData, PublishedSite, RecentMeasurements, RegisterSnapshot
from app.public_register.ttl_cache import TtlCache

CONNECTIONS: Final = 2
"""Database connections of a process for the register: whoever else works has others."""

REGISTER_TTL_S: Final = 5.0
"""How old what is shown may be (seconds); figures of open data may be ten times as old."""


RECENT_TTL_S: Final = 60.0
"""How old the newest values may be (seconds)."""
_FIGURES: Final = 32
_SEARCHES: Final = 16


@dataclass(frozen=True, slots=True)
class RegisterContext:
    """The register of a process.

    Attributes:
        pool: Connections under the role that sees views of what is published.
        tiles: The operator's ground of the map.
        licence: Of the open data of sites that name none.
        shelf: What was read and made.
        figures: Open data, which are large: a crawler that looks at all sites must not fill the memory.
        searches: What searches give as data, for the same reason.
    """

    pool: asyncpg.Pool
    tiles: MapTileSource
    licence: str | None = None
    shelf: TtlCache = field(default_factory=TtlCache)
    figures: TtlCache = field(default_factory=lambda: TtlCache(_FIGURES))
    searches: TtlCache = field(default_factory=lambda: TtlCache(_SEARCHES))

    @classmethod
    async def of(cls, database: Database, settings: RegisterSettings) -> "RegisterContext":
        """Make it; connections are made when they are needed."""
        pool = await database.pool(size=CONNECTIONS, eager=False, role=queries.ROLE)
        return cls(pool, MapTileSource.of(settings), settings.licence or None)

    async def close(self) -> None:
        """Close the connections."""
        await self.pool.close()

    async def register(self) -> RegisterSnapshot:
        """All that is published but figures and history."""
        return await self.shelf.get("register", REGISTER_TTL_S, self._read)

    async def _read(self) -> RegisterSnapshot:
        return await queries.read_register(self.pool, self.licence)

    async def site(self, site_id: str) -> tuple[RegisterSnapshot, PublishedSite]:
        """A site, and the register that it is in (NotFoundError)."""
        register = await self.register()
        found = register.sites.get(parse_id(site_id, "site"))
        if found is None:
            raise NotFoundError("site", site_id)
        return register, found

    async def open_data(self, register: RegisterSnapshot, site: PublishedSite) -> OpenData:
        """The published figures of a site."""
        metrics = site.open_metrics

        async def read() -> OpenData:
            return await queries.read_open_data(self.pool, site.id, metrics, register.at)

        return await self.figures.get((site.id, metrics), 10 * REGISTER_TTL_S, read)

    async def recent(self, site: PublishedSite) -> RecentMeasurements:
        """The newest published values of a site, and its last 24 hours."""

        async def read() -> RecentMeasurements:
            return await queries.read_recent(self.pool, site)

        return await self.figures.get(("recent", site.id, site.open_metrics), RECENT_TTL_S, read)

    async def changes(self, site_id: UUID | None, before: int | None = None) -> ChangeHistoryPage:
        """A page of the history."""

        async def read() -> ChangeHistoryPage:
            found = await queries.read_changes(self.pool, site_id, before)
            is_all = len(found) < queries.HISTORY_READ_LIMIT
            return group_changes(found, queries.HISTORY_PAGE_SIZE, is_all=is_all)

        return await self.shelf.get(("changes", site_id, before), REGISTER_TTL_S, read)


async def _context(request: Request) -> RegisterContext:
    found: RegisterContext = request.app.state.register
    return found


Context = Annotated[RegisterContext, Depends(_context)]
"""FastAPI dependency: the process's register."""
