"""All REST routes of this room, for the composition root."""

from typing import Final

from app.observations import (
    events_router,
    latest_router,
    quarantine_router,
    readings_router,
    series_router,
    totals_router,
)
from app.observations.erasure import router as erasure_router
from app.observations.exports import router as exports_router
from app.observations.quality import router as corrections_router
from app.observations.retention import router as retention_router
from app.observations.rollups import router as rollups_router

routers: Final = (
    latest_router.router,
    readings_router.router,
    series_router.router,
    exports_router.router,
    corrections_router.router,
    events_router.router,
    quarantine_router.router,
    totals_router.router,
    rollups_router.router,
    retention_router.router,
    erasure_router.router,
)
