"""Holds the connections of anonymous callers, under a database role that sees open data only."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import Database
from app.platform.db.standby_reads import SessionReads, StandbyReads
from app.platform.kernel.application_resources import make_resource_dependency

CONNECTIONS: Final = 3
"""Connections of a process for anonymous callers, so that a crowd leaves the others to callers with a key."""
ROLE: Final = "vigie_public"
SCHEMA: Final = "open_data"
"""Where this role finds the views that SensorThings reads (`migrations.open_data_views`)."""


@dataclass(frozen=True, slots=True)
class OpenDataContext:
    """The open data of a process.

    Attributes:
        reads: Runs reads that see open data only, on a standby where reads may run there.
    """

    reads: SessionReads
    _database: Database
    _standby: StandbyReads

    @classmethod
    def of(cls, settings: DatabaseSettings, *, application: str) -> "OpenDataContext":
        """Create the context. Its connections open when they are first used."""
        limited = settings.model_copy(update={"pool_size": CONNECTIONS})
        database = Database(limited, application=application, role=ROLE, schema=SCHEMA, pools="open_data_")
        standby = StandbyReads.of(
            database,
            application=application,
            role=ROLE,
            tenants=False,
            pools="standby_open_data_",
            schema=SCHEMA,
        )
        return cls(standby.make_session_reads(), database, standby)

    async def close(self) -> None:
        """Close the connections."""
        await self._standby.close()
        await self._database.close()


OpenData = Annotated[OpenDataContext, Depends(make_resource_dependency(OpenDataContext))]
"""FastAPI dependency: the process's open data."""
