"""Serves `/v1/search`."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from app.platform.http.contract.fields import Name
from app.platform.http.contract.session_dependencies import ReaderDependency
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, current_principal
from app.platform.kernel.errors import ForbiddenError, InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.search import service
from app.search.schemas import KINDS, OmittedKind, SearchKind, SearchOut

router: Final = APIRouter(prefix="/v1/search", tags=["Search"], route_class=StrictRoute)

DEFAULT_LIMIT: Final = 5
_MOST: Final = 20
_NAMED: Final = "|".join(KINDS)
_LISTED: Final = rf"^\s*({_NAMED})\s*(,\s*({_NAMED})\s*)*$"


@router.get("", summary="Search sites, boxes, alerts, rules and incidents")
async def list_search_results(
    principal: Annotated[Principal, Depends(current_principal)],
    reader: ReaderDependency,
    q: Annotated[
        Name,
        Query(description="Words of names, or an id or its beginning (UUIDs: at least 4 digits)"),
    ],
    kinds: Annotated[
        list[Annotated[str, Field(json_schema_extra={"pattern": _LISTED})]] | None,
        Query(max_length=len(KINDS), description="Only these kinds: repeated, or separated by commas"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="The most results of each kind")] = DEFAULT_LIMIT,
) -> SearchOut:
    """Find resources whose names or ids begin with the words of `q`, regardless of case and accents.

    Searched are names, addresses of sites, ids and tags of boxes, rule, box and site of alerts, and site and
    recognised classes of incidents. By these, alerts and incidents are searched among the newest 500
    and, for alerts, the newest 500 that fire; by their ids, all are.

    Kinds that you may not read are left out and named in `omitted`. Without any, you get 403.
    """
    asked = _parse_kinds(kinds)
    allowed = [kind for kind in asked if principal.may(KINDS[kind])]
    omitted = [OmittedKind(kind=kind, scope=KINDS[kind]) for kind in asked if kind not in allowed]
    if not allowed:
        scopes = list(dict.fromkeys(each.scope for each in omitted))
        raise ForbiddenError(
            f"{principal.called} may read none of these kinds. It needs at least one of the scopes "
            f"{', '.join(f'`{scope}`' for scope in scopes)}.",
            extra={"scope": scopes[0]},
        )
    findings = await service.search_kinds(reader, q, allowed, principal.visible(), limit)
    return SearchOut(data=findings.results, more=findings.more, omitted=omitted)


def _parse_kinds(given: list[str] | None) -> list[SearchKind]:
    """Parse the kinds to search, in the order of `KINDS`."""
    if given is None:
        return list(KINDS)
    names = {name.strip() for text in given for name in text.split(",")}
    for name in sorted(names):
        if name not in KINDS:
            raise InvalidError(
                f"{format_rejected_value(name)} is no kind. Use any of: {', '.join(KINDS)}.",
                code="unknown_kind",
            )
    return [kind for kind in KINDS if kind in names]
