"""All REST routes of this room, for the composition root."""

from typing import Final

from app.observations import events_router, quarantine_router, readings_router, totals_router
from app.observations.erasure import router as erasure_router
from app.observations.retention import router as retention_router

routers: Final = (
    readings_router.router,
    events_router.router,
    quarantine_router.router,
    totals_router.router,
    retention_router.router,
    erasure_router.router,
)
