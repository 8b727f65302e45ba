"""Parses the parameters that the stream of measurements and its poll share."""

from dataclasses import replace
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Depends, Query

from app.catalogue.metrics import METRICS_BY_NAME
from app.measurement_stream.items import KINDS, ItemKind, StreamFilter
from app.platform.db.database import ReadSession
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ForbiddenError, NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.organisation_repository import find_organisation
from app.timeseries.exports.export_selection import ExportSelection, check_selection_exists
from app.timeseries.series.series_parameters import find_metric

MAY_READ: Final = require_scope("telemetry:read")
"""The scope that a reader of measurements needs."""
Reader = Annotated[Principal, Depends(MAY_READ)]

GRANTED_KINDS: Final = frozenset[str]({"sample", "hour"})
"""The kinds of items that a grant includes."""
_NAMED_KINDS: Final = " and ".join(f"`{kind}`" for kind in KINDS if kind in GRANTED_KINDS)
_LISTED_MOST: Final = 100

StartParameter = Annotated[
    Literal["now", "oldest"],
    Query(description="Where to begin without an `id`: `now`, or with the oldest item that is stored"),
]


class ReadRequest:
    """The organisation whose measurements are read, and which of them.

    Attributes:
        organisation: the organisation.
        tenant_scope: the sites of it that the caller may see.
        filter: which items.
    """

    def __init__(self, organisation: UUID, tenant_scope: TenantScope, filter_: StreamFilter) -> None:
        self.organisation = organisation
        self.tenant_scope = tenant_scope
        self.filter = filter_


def limit_scope(principal: Principal, organisation: UUID) -> TenantScope:
    """Return the part of a caller's tenant scope that is of one organisation."""
    return replace(principal.visible(), organisations=(organisation,))


async def parse_read_request(
    *,
    principal: Reader,
    database: DatabaseDependency,
    site: Annotated[
        list[UUID] | None,
        Query(max_length=_LISTED_MOST, description="Only boxes at this site; repeat it for several sites"),
    ] = None,
    box: Annotated[
        list[Annotated[str, Query(max_length=64)]] | None,
        Query(max_length=_LISTED_MOST, description="Only this box; repeat it for several boxes"),
    ] = None,
    metric: Annotated[
        list[str] | None,
        Query(
            max_length=_LISTED_MOST,
            description="Only values of this metric; repeat it for several. Events have no metric: they are "
            "left out",
            json_schema_extra={"items": {"type": "string", "enum": sorted(METRICS_BY_NAME)}},
        ),
    ] = None,
    kind: Annotated[
        list[ItemKind] | None,
        Query(max_length=len(KINDS), description="Only items of this kind; repeat it for several"),
    ] = None,
    organisation: Annotated[
        UUID | None,
        Query(description="For integrators and administrators: the organisation. Default: the key's own"),
    ] = None,
) -> ReadRequest:
    """Parse the organisation and the filter.

    Raises:
        InvalidError: `unknown_metric`, `too_many_boxes`.
        ForbiddenError: `metric_not_granted`, `kind_not_granted`.
        NotFoundError: The organisation, a site or a box does not exist in the tenant scope.
    """
    owner = principal.organisation_id if organisation is None else organisation
    named = None if metric is None else {find_metric(name).name for name in metric}
    filter_ = StreamFilter(
        None if site is None else frozenset(site),
        None if box is None else frozenset(box),
        None if named is None else tuple(name for name in METRICS_BY_NAME if name in named),
        None if kind is None else frozenset(kind),
    )
    scope = limit_scope(principal, owner)
    if scope.grant is not None:
        filter_ = limit_filter(filter_, scope)
    async with database.read() as session:
        await _check_exists(session, principal, owner, scope, filter_)
    return ReadRequest(owner, scope, filter_)


def limit_filter(filter_: StreamFilter, scope: TenantScope) -> StreamFilter:
    """Limit a filter to the kinds and metrics of the caller's grant (ForbiddenError).

    Events and corrections depend on values that a grant may not include.
    """
    if scope.grant is None:
        return filter_
    if refused := sorted((filter_.kinds or frozenset()) - GRANTED_KINDS):
        raise ForbiddenError(
            f"A grant includes no items of the kind {refused[0]}. Omit `kind`, or use {_NAMED_KINDS}.",
            code="kind_not_granted",
        )
    scope.check_metrics(filter_.metrics or ())
    granted = tuple(name for name in METRICS_BY_NAME if name in scope.grant.metrics)
    return replace(filter_, metrics=filter_.metrics or granted)


async def _check_exists(
    session: ReadSession, principal: Principal, owner: UUID, scope: TenantScope, filter_: StreamFilter
) -> None:
    if await find_organisation(session, owner, principal.visible()) is None:
        raise NotFoundError("organisation", owner)
    selection = ExportSelection(scope, tuple(filter_.sites or ()), tuple(filter_.boxes or ()))
    await check_selection_exists(session, selection)
