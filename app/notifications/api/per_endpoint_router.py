"""Serves what webhooks and channels have in common: delivery log, test, replays, health."""

from typing import Final

from fastapi import APIRouter

from app.notifications.api.deliveries_router import add_log, add_test
from app.notifications.api.dependencies import Noun
from app.notifications.api.health_router import add_health
from app.notifications.api.replays_router import add_replays
from app.platform.http.contract.strict_body import StrictRoute

router: Final = APIRouter(route_class=StrictRoute)
add_log(router, "webhook", tag="Webhooks", list_as="list_deliveries")
add_log(router, "channel", tag="Channels", list_as="list_channel_deliveries")
_KINDS: Final[tuple[tuple[Noun, str], ...]] = (("webhook", "Webhooks"), ("channel", "Channels"))
for _noun, _tag in _KINDS:
    add_test(router, _noun, tag=_tag)
    add_replays(router, _noun, tag=_tag)
    add_health(router, _noun, tag=_tag)
