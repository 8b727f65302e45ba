"""REST for how an endpoint of any kind is doing. Owns the HTTP side only."""

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
    """Add health below an endpoint's path.

    Args:
        to: The router, without a prefix.
        noun: What the endpoints are called in paths.
        tag: Under which tag of the documentation.
    """

    @to.get(
        f"/v1/{noun}s/{{{noun}}}/health",
        tags=[tag],
        operation_id=f"get_{noun}_health",
        summary="How deliveries are going",
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
            Query(description="How far back attempts count: ISO 8601, PT1H to P7D"),
        ] = "P1D",
    ) -> HealthOut:
        """The attempts of late, how long they took, and what keeps deliveries from going out."""
        endpoint = await webhook_service.get_endpoint(
            session, parse_id(identifier, noun), principal, noun=noun
        )
        return await health_queries.read_endpoint_health(session, endpoint, window)
