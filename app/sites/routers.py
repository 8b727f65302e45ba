"""All REST routes of this room, for the composition root."""

from typing import Final

from app.sites import (
    boxes_router,
    bulk_router,
    claims_router,
    configs_router,
    keys_router,
    metrics_router,
    organisations_router,
    provisioning_router,
    purposes_router,
    quotas_router,
    refusals_router,
    sites_router,
)

routers: Final = (
    organisations_router.router,
    quotas_router.router,
    keys_router.router,
    sites_router.router,
    purposes_router.router,
    purposes_router.catalogue,
    refusals_router.router,
    boxes_router.router,
    bulk_router.router,
    bulk_router.operations,
    configs_router.router,
    claims_router.router,
    claims_router.anybody,
    provisioning_router.router,
    provisioning_router.anybody,
    metrics_router.router,
)
