"""All REST routes of this room, for the composition root."""

from typing import Final

from app.people import (
    invitations_router,
    me_router,
    members_router,
    oidc_router,
    sessions_router,
)

routers: Final = (
    sessions_router.anybody,
    sessions_router.router,
    oidc_router.anybody,
    oidc_router.router,
    me_router.router,
    members_router.router,
    invitations_router.anybody,
    invitations_router.router,
)
