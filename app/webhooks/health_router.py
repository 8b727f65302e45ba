"""REST for how an endpoint of any kind is doing. Owns the HTTP side only."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.core.fields import DURATION
from app.core.ids import parse_id
from app.core.problems import documented
from app.core.web import Reads
from app.webhooks import health_reads, service
from app.webhooks.endpoint_fields import span
from app.webhooks.health_schemas import HealthOut
from app.webhooks.web import Noun, Reader


def add_health(to: APIRouter, noun: Noun, *, tag: str) -> None:
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
        responses=documented(401, 403, 404, 422),
    )
    async def get_health(
        identifier: Annotated[str, Path(alias=noun)],
        principal: Reader,
        session: Reads,
        window: Annotated[
            str,
            span(
                health_reads.LONGEST_S,
                "7 days",
                shortest_s=health_reads.SHORTEST_S,
                shortest_called="an hour",
            ),
            DURATION,
            Query(description="How far back attempts count: ISO 8601, PT1H to P7D"),
        ] = "P1D",
    ) -> HealthOut:
        """The attempts of late, how long they took, and what keeps deliveries from going out."""
        endpoint = await service.get_endpoint(session, parse_id(identifier, noun), principal, noun=noun)
        return await health_reads.health_of(session, endpoint, window)
