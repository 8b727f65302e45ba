"""Reads which webhooks and channels get nothing through, for an overview of what is wrong.

Owns the SQL; an endpoint of its own is looked at in `health_reads`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.api.delivery_queries import build_state_literal
from app.notifications.delivery.endpoint_states import describe_target
from app.notifications.delivery.models import Delivery, Endpoint, EndpointState
from app.platform.kernel.tenant_scope import TenantScope

MOST_COUNTED: Final = 10_000
"""How many waiting deliveries of an endpoint are counted, at most."""

# Those that a person disabled have no reason.
_DISABLED: Final = and_(Endpoint.enabled.is_(False), Endpoint.disabled_reason.is_not(None))
_FAILING: Final = and_(Endpoint.enabled.is_(True), EndpointState.consecutive_failures > 0)


class EndpointFailureCounts(NamedTuple):
    """How many endpoints there are, fail, and were disabled as they failed."""

    total: int
    failing: int
    disabled: int


class FailingEndpointRow(NamedTuple):
    """An endpoint that gets nothing through; the fields are those of `FailingEndpoint` on the wire."""

    endpoint_id: UUID
    kind: str
    target: str | None
    description: str | None
    state: str
    failing_since: datetime | None
    last_reason: str | None
    last_status: int | None
    pending: int


async def count_failing_endpoints(
    session: AsyncSession, visible: TenantScope, organisation: UUID | None
) -> EndpointFailureCounts:
    """Count the endpoints of a caller, and those that get nothing through."""
    counts = (func.count(), func.count().filter(_FAILING), func.count().filter(_DISABLED))
    statement = select(*counts).select_from(Endpoint)
    statement = statement.outerjoin(EndpointState, EndpointState.endpoint_id == Endpoint.id)
    found = (await session.execute(statement.where(*_within(visible, organisation)))).one()
    return EndpointFailureCounts(*found)


async def list_failing_endpoints(
    session: AsyncSession, visible: TenantScope, organisation: UUID | None, most: int
) -> list[FailingEndpointRow]:
    """List the endpoints that get nothing through, the longest failing first."""
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
    return [
        FailingEndpointRow(
            identifier,
            kind,
            describe_target(kind, url, target),
            description,
            "failing" if enabled else "disabled",
            *state,
        )
        for identifier, kind, url, target, description, enabled, *state in await session.execute(statement)
    ]


def _within(visible: TenantScope, organisation: UUID | None) -> list[ColumnElement[bool]]:
    found = list(visible.within(Endpoint.organisation_id))
    return found if organisation is None else [*found, Endpoint.organisation_id == organisation]
