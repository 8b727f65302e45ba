"""All REST routes of this room, for the composition root."""

from typing import Final

from app.sites import (
    boxes_router,
    configs_router,
    keys_router,
    metrics_router,
    organisations_router,
    sites_router,
)

routers: Final = (
    organisations_router.router,
    keys_router.router,
    sites_router.router,
    boxes_router.router,
    configs_router.router,
    metrics_router.router,
)
