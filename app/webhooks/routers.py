"""All REST routes of this room, for the composition root."""

from typing import Final

from fastapi import APIRouter

from app.core.strict_body import StrictRoute
from app.webhooks import channels_router, deliveries_router, replays_router, router
from app.webhooks.deliveries_router import add_log, add_test
from app.webhooks.health_router import add_health
from app.webhooks.replays_router import add_replays
from app.webhooks.web import Noun

_below = APIRouter(route_class=StrictRoute)
add_log(_below, "webhook", tag="Webhooks", list_as="list_deliveries")
add_log(_below, "channel", tag="Channels", list_as="list_channel_deliveries")
_KINDS: Final[tuple[tuple[Noun, str], ...]] = (("webhook", "Webhooks"), ("channel", "Channels"))
for _noun, _tag in _KINDS:
    add_test(_below, _noun, tag=_tag)
    add_replays(_below, _noun, tag=_tag)
    add_health(_below, _noun, tag=_tag)

routers: Final = (
    router.router,
    channels_router.router,
    _below,
    deliveries_router.router,
    replays_router.router,
)
