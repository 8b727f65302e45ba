"""All REST routes of this room, for the composition root."""

from typing import Final

from app.alerts import explanation_router, inhibitions_router, overview_router, router, silences_router

routers: Final = (
    overview_router.router,
    router.router,
    explanation_router.router,
    silences_router.router,
    inhibitions_router.router,
)
