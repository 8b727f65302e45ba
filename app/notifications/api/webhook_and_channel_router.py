"""Serves the routes that webhooks and channels share: delivery log, test, replays and health."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from app.notifications.api import health_queries, webhook_service
from app.notifications.api.deliveries_router import add_delivery_log_route, add_test_route
from app.notifications.api.dependencies import EndpointNoun, Reader
from app.notifications.api.endpoint_fields import build_duration_validator
from app.notifications.api.health_queries import HealthOut
from app.notifications.api.replays_router import add_replay_routes
from app.platform.http.contract.fields import DURATION
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.ids import parse_id


def add_health_route(to: APIRouter, noun: EndpointNoun, *, tag: str) -> None:
    """Add the route that reads an endpoint's health.

    Args:
        to: The router, without a prefix.
        noun: The name of endpoints in paths.
        tag: The tag of the route in the API documentation.
    """

    @to.get(
        f"/v1/{noun}s/{{{noun}}}/health",
        tags=[tag],
        operation_id=f"get_{noun}_health",
        summary="Read an endpoint's health" if noun == "webhook" else "Read a channel's health",
        responses=document_problems(401, 403, 404, 422),
    )
    async def get_health(
        identifier: Annotated[str, Path(alias=noun)],
        principal: Reader,
        session: ReadSessionDep,
        window: Annotated[
            str,
            build_duration_validator(
                health_queries.LONGEST_S,
                "7 days",
                shortest_s=health_queries.SHORTEST_S,
                shortest_called="an hour",
            ),
            DURATION,
            Query(description="The window in which attempts are counted: ISO 8601, PT1H to P7D"),
        ] = "P1D",
    ) -> HealthOut:
        """Recent attempts, their durations, and what stops deliveries."""
        endpoint = await webhook_service.get_endpoint(
            session, parse_id(identifier, noun), principal, noun=noun
        )
        return await health_queries.read_endpoint_health(session, endpoint, window)


router: Final = APIRouter(route_class=StrictRoute)
add_delivery_log_route(router, "webhook", tag="Webhooks", list_as="list_deliveries")
add_delivery_log_route(router, "channel", tag="Channels", list_as="list_channel_deliveries")
_KINDS: Final[tuple[tuple[EndpointNoun, str], ...]] = (("webhook", "Webhooks"), ("channel", "Channels"))
for _noun, _tag in _KINDS:
    add_test_route(router, _noun, tag=_tag)
    add_replay_routes(router, _noun, tag=_tag)
    add_health_route(router, _noun, tag=_tag)
