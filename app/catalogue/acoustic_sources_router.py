"""REST for the catalogue of acoustic sources."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator
from sqlalchemy import String, column

from app.catalogue.acoustic_sources import CATALOGUE, SourceKind, fold_source_text
from app.catalogue.schemas import AcousticSourceOut, AcousticSourcePage
from app.platform.http.contract.fields import Name
from app.platform.http.contract.problems import CodedValueError, document_problems
from app.platform.http.contract.sorting import (
    PageRequest,
    SortKey,
    SortOrders,
    parse_cursor_text,
    text_sort_key,
)
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import current_principal
from app.platform.kernel.errors import NotFoundError

router: Final = APIRouter(
    prefix="/v1/acoustic-sources",
    tags=["Acoustic sources"],
    route_class=StrictRoute,
    dependencies=[Depends(current_principal)],
)
_ALL: Final = {source.id: AcousticSourceOut.of(source) for source in CATALOGUE.sources}
_CLASSES: Final = [*CATALOGUE.classes]
# What `q` looks at, once and for all.
_SEARCH_TEXTS: Final = {
    each.id: fold_source_text(
        "\n".join([each.id, each.name, each.name_fr, each.maker or "", each.calibre or ""])
    )
    for each in _ALL.values()
}
# The rows are in memory: of the columns only the names and types are there.
_SOURCES: Final = SortOrders(
    "acoustic-sources",
    (text_sort_key(column("id", String)),),
    {
        "id": (),
        "name": (SortKey(column("name", String), lambda row: fold_source_text(row.name), parse_cursor_text),),
        "class": (SortKey(column("class", String), lambda row: row.class_, parse_cursor_text),),
    },
    "id",
)


def _check_class(value: str) -> str:
    if value not in CATALOGUE.classes:
        raise CodedValueError("invalid_value", f"One of: {', '.join(_CLASSES)}")
    return value


@router.get(
    "",
    operation_id="list_acoustic_sources",
    summary="The catalogue of acoustic sources",
    responses=document_problems(401, 422),
)
async def list_acoustic_sources(
    page_request: Annotated[PageRequest, Depends(_SOURCES.asked)],
    *,
    class_: Annotated[
        str | None,
        AfterValidator(lambda value: None if value is None else _check_class(value)),
        Query(alias="class", description="Only of this class", json_schema_extra={"enum": _CLASSES}),
    ] = None,
    kind: Annotated[SourceKind | None, Query(description="Only firearms, or only look-alikes")] = None,
    q: Annotated[
        Name | None,
        Query(
            description="Part of the id, the name, the maker or the calibre, in any case", examples=["glock"]
        ),
    ] = None,
) -> AcousticSourcePage:
    """Models of firearms, and what is taken for a shot: what an event's candidates name.

    Boxes may send others, and rules may name others: nothing is refused for not being here.
    """
    needle = None if q is None else fold_source_text(q)
    matches = [
        each
        for each in _ALL.values()
        if class_ in {None, each.class_}
        and kind in {None, each.kind}
        and (needle is None or needle in _SEARCH_TEXTS[each.id])
    ]
    page, following = _SOURCES.sift(matches, page_request)
    return AcousticSourcePage(catalogue_version=CATALOGUE.version, data=list(page), next=following)


@router.get(
    "/{source_id}",
    operation_id="get_acoustic_source",
    summary="Read an acoustic source",
    responses=document_problems(401, 404),
)
async def get_acoustic_source(source_id: str) -> AcousticSourceOut:
    """One source."""
    matches = _ALL.get(source_id)
    if matches is None:
        raise NotFoundError("acoustic source", source_id)
    return matches
