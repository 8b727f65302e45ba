"""Lists and counts failing and disabled webhooks and channels for `/v1/overview`.

The health of a single endpoint is in `health_queries`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.api.delivery_queries import build_state_literal
from app.notifications.delivery.endpoint_state_repository import describe_target
from app.notifications.delivery.models import Delivery, Endpoint, EndpointState
from app.platform.kernel.tenant_scope import TenantScope

MOST_COUNTED: Final = 10_000
"""The most pending deliveries of an endpoint that are counted."""

# Endpoints that a person disabled have no reason.
_DISABLED: Final = and_(Endpoint.enabled.is_(False), Endpoint.disabled_reason.is_not(None))
_FAILING: Final = and_(Endpoint.enabled.is_(True), EndpointState.consecutive_failures > 0)


class EndpointFailureCounts(NamedTuple):
    """Numbers of all endpoints, of failing ones, and of those that Vigie disabled."""

    total: int
    failing: int
    disabled: int


class FailingEndpointRow(NamedTuple):
    """A failing or disabled endpoint, with the fields of the response body `FailingEndpoint`."""

    endpoint_id: UUID
    kind: str
    target: str | None
    recipient: str | None
    description: str | None
    state: str
    failing_since: datetime | None
    last_reason: str | None
    last_status: int | None
    pending: int


async def count_failing_endpoints(
    session: AsyncSession, visible: TenantScope, organisation: UUID | None
) -> EndpointFailureCounts:
    """Count a caller's endpoints: all, failing and disabled."""
    counts = (func.count(), func.count().filter(_FAILING), func.count().filter(_DISABLED))
    statement = select(*counts).select_from(Endpoint)
    statement = statement.outerjoin(EndpointState, EndpointState.endpoint_id == Endpoint.id)
    found = (await session.execute(statement.where(*_within(visible, organisation)))).one()
    return EndpointFailureCounts(*found)


async def list_failing_endpoints(
    session: AsyncSession, visible: TenantScope, organisation: UUID | None, most: int
) -> list[FailingEndpointRow]:
    """List failing and disabled endpoints, the longest failing first.

    Args:
        session: For queries.
        visible: The caller's tenant scope.
        organisation: Only endpoints of this organisation; None: of all visible ones.
        most: The most endpoints to list.
    """
    waiting = select(literal(1)).where(
        Delivery.endpoint_id == Endpoint.id, Delivery.state == build_state_literal("pending")
    )
    some = waiting.limit(MOST_COUNTED).correlate(Endpoint).subquery()
    columns: Sequence[ColumnElement[Any]] = (
        *(
            Endpoint.id.expression,
            Endpoint.kind.expression,
            Endpoint.url.expression,
            cast(Endpoint.target, Text),
        ),
        *(
            Endpoint.recipient.expression,
            Endpoint.description.expression,
            Endpoint.enabled.expression,
            EndpointState.failing_since.expression,
        ),
        *(EndpointState.last_reason.expression, EndpointState.last_status.expression),
        select(func.count()).select_from(some).scalar_subquery(),
    )
    statement = select(*columns).outerjoin(EndpointState, EndpointState.endpoint_id == Endpoint.id)
    statement = statement.where(*_within(visible, organisation), or_(_FAILING, _DISABLED))
    statement = statement.order_by(EndpointState.failing_since.nulls_last(), Endpoint.id).limit(most)
    found = await session.execute(statement)
    return [
        FailingEndpointRow(
            identifier,
            kind,
            describe_target(kind, url, target),
            recipient,
            description,
            "failing" if enabled else "disabled",
            *state,
        )
        for identifier, kind, url, target, recipient, description, enabled, *state in found
    ]


def _within(visible: TenantScope, organisation: UUID | None) -> list[ColumnElement[bool]]:
    found = list(visible.within(Endpoint.organisation_id))
    return found if organisation is None else [*found, Endpoint.organisation_id == organisation]
