"""Serves the number of boxes by firmware and kind: which boxes run a firmware with a known vulnerability."""

from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, Text, column, func, select

from app.platform.db.tenant_reader import CompiledStatement, FlatRow, compile_statement
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.session_dependencies import ReaderDependency, make_page_response
from app.platform.http.contract.sorting import PageRequest, SortOrders, number_sort_key, text_sort_key
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_filters import BoxFilter, make_box_conditions
from app.registry.dependencies import OrganisationFilter, SitesReader
from app.registry.firmware_versions import (
    BELOW_VERSION,
    COMPARABLE,
    FROM_VERSION,
    FirmwareVersion,
    select_is_comparable,
)
from app.registry.labels import BoxKind
from app.registry.models import Box

router: Final = APIRouter(prefix="/v1/firmwares", tags=["Boxes"])


class FirmwareCount(BaseModel):
    """The number of boxes of one kind with the same firmware."""

    firmware: str | None = Field(description="The firmware, as reported by the boxes; null: none reported")
    kind: BoxKind | None = Field(description="The kind of the boxes; null: none set", examples=["air"])
    comparable: bool = Field(
        description="Whether it begins with a version number, so that `firmware_below` can find its boxes"
    )
    boxes: int = Field(description="Number of boxes")
    online: int = Field(description="Number of these boxes that are online")


# The columns of the counted boxes, which pages are sorted by.
_FIRMWARE, _KIND, _BOXES = column("firmware", Text), column("kind", Text), column("boxes", BigInteger)
FIRMWARES: Final = SortOrders(
    "firmwares",
    (text_sort_key(_FIRMWARE), text_sort_key(_KIND)),
    {"firmware": (), "boxes": (number_sort_key(_BOXES, attrgetter("boxes")),)},
    "firmware",
)


async def _filter(
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only boxes at this site")] = None,
    kind: Annotated[BoxKind | None, Query(description="Only boxes of this kind")] = None,
    firmware_from: Annotated[FirmwareVersion | None, Query(description=FROM_VERSION)] = None,
    firmware_below: Annotated[FirmwareVersion | None, Query(description=BELOW_VERSION)] = None,
    firmware_comparable: Annotated[bool | None, Query(description=COMPARABLE)] = None,
) -> BoxFilter:
    """Read the conditions of the boxes that are counted."""
    return BoxFilter(
        organisation=organisation,
        site=site,
        kind=kind,
        firmware_from=firmware_from,
        firmware_below=firmware_below,
        firmware_comparable=firmware_comparable,
    )


@router.get("", summary="Count boxes by firmware", response_model=Page[FirmwareCount])
async def list_firmwares(
    principal: SitesReader,
    reader: ReaderDependency,
    box_filter: Annotated[BoxFilter, Depends(_filter)],
    page_request: Annotated[PageRequest, Depends(FIRMWARES.page_request)],
) -> Response:
    """Count boxes by the firmware that they reported and by kind, by default in the order of firmwares.

    `GET /v1/boxes` lists the boxes themselves, with the same filters.
    """
    rows = await reader.fetch(_compile_page(principal.visible(), page_request, box_filter))
    page, following = FIRMWARES.cut(rows, page_request)
    return make_page_response(map(_format_row, page), following)


# Building the statement takes longer than reading a page.
@lru_cache(64)
def _compile_page(
    visible: TenantScope, page_request: PageRequest, box_filter: BoxFilter
) -> CompiledStatement:
    # Grouped without nulls: cursors compare texts.
    firmware, kind = func.coalesce(Box.firmware, ""), func.coalesce(Box.kind, "")
    counted = select(
        firmware.label("firmware"),
        kind.label("kind"),
        func.bool_or(select_is_comparable()).label("comparable"),
        func.count().label("boxes"),
        func.count().filter(Box.state == "online").label("online"),
    )
    within = visible.within(Box.organisation_id, Box.site_id)
    counted = counted.where(Box.deleted_at.is_(None), *within, *make_box_conditions(box_filter))
    firmwares = counted.group_by(firmware, kind).subquery()
    return compile_statement(FIRMWARES.page(select(firmwares), page_request))


def _format_row(row: FlatRow) -> dict[str, Any]:
    return {**row, "firmware": row.firmware or None, "kind": row.kind or None}
