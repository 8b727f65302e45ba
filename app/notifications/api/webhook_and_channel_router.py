"""Serves the routes that webhooks and channels share: delivery log, test, replays and health."""

from typing import Final

from fastapi import APIRouter

from app.notifications.api.deliveries_router import add_delivery_log_route, add_test_route
from app.notifications.api.dependencies import EndpointNoun
from app.notifications.api.endpoint_health_router import add_health_route
from app.notifications.api.replays_router import add_replay_routes
from app.platform.http.contract.strict_body import StrictRoute

router: Final = APIRouter(route_class=StrictRoute)
add_delivery_log_route(router, "webhook", tag="Webhooks", list_as="list_deliveries")
add_delivery_log_route(router, "channel", tag="Channels", list_as="list_channel_deliveries")
_KINDS: Final[tuple[tuple[EndpointNoun, str], ...]] = (("webhook", "Webhooks"), ("channel", "Channels"))
for _noun, _tag in _KINDS:
    add_test_route(router, _noun, tag=_tag)
    add_replay_routes(router, _noun, tag=_tag)
    add_health_route(router, _noun, tag=_tag)
