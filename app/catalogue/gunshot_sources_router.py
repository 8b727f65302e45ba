"""Serves the catalogue of acoustic sources over REST."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator
from sqlalchemy import String, column

from app.catalogue.gunshot_sources import CATALOGUE, SourceKind, fold_source_text
from app.catalogue.schemas import AcousticSourceOut, AcousticSourcePage
from app.platform.http.contract.fields import Name
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.sorting import (
    PageRequest,
    SortKey,
    SortOrders,
    parse_cursor_text,
    text_sort_key,
)
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import current_principal
from app.platform.kernel.errors import NotFoundError

router: Final = APIRouter(
    prefix="/v1/acoustic-sources",
    tags=["Acoustic sources"],
    route_class=StrictRoute,
    dependencies=[Depends(current_principal)],
)
_ALL: Final = {source.id: AcousticSourceOut.of(source) for source in CATALOGUE.sources}
_CLASSES: Final = [*CATALOGUE.classes]
# The texts that `q` searches, folded once at import.
_SEARCH_TEXTS: Final = {
    each.id: fold_source_text(
        "\n".join([each.id, each.name, each.name_fr, each.maker or "", each.calibre or ""])
    )
    for each in _ALL.values()
}
# The rows are in memory. The columns only give the sort keys a name and a type.
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


@router.get("", summary="List acoustic sources")
async def list_acoustic_sources(
    page_request: Annotated[PageRequest, Depends(_SOURCES.page_request)],
    *,
    class_: Annotated[
        str | None,
        AfterValidator(lambda value: None if value is None else _check_class(value)),
        Query(alias="class", description="Only this class", json_schema_extra={"enum": _CLASSES}),
    ] = None,
    kind: Annotated[SourceKind | None, Query(description="Only firearms or only look-alikes")] = None,
    q: Annotated[
        Name | None,
        Query(description="Part of the id, name, maker or calibre; case is ignored", examples=["glock"]),
    ] = None,
) -> AcousticSourcePage:
    """List firearm models and look-alikes: the sources that the candidates of an event name.

    Boxes may send other sources, and rules may name others. A source that is not listed is accepted too.
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


@router.get("/{source_id}", summary="Read an acoustic source")
async def get_acoustic_source(source_id: str) -> AcousticSourceOut:
    """Read one firearm model or look-alike."""
    matches = _ALL.get(source_id)
    if matches is None:
        raise NotFoundError("acoustic source", source_id)
    return matches
