"""Serves the health of a webhook or channel: recent attempts, durations, what stops deliveries."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.notifications.api import health_queries, webhook_service
from app.notifications.api.dependencies import EndpointNoun, Reader
from app.notifications.api.endpoint_fields import build_duration_validator
from app.notifications.api.health_queries import HealthOut
from app.platform.http.contract.dependencies import ReadSessionDep
from app.platform.http.contract.fields import DURATION
from app.platform.http.contract.problems import document_problems
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
