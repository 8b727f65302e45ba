"""All REST routes of this room, for the composition root."""

from typing import Final

from app.alerts import inhibitions_router, router, silences_router

routers: Final = (router.router, silences_router.router, inhibitions_router.router)
