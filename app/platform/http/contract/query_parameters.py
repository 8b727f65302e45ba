"""Rejects unknown query parameters: a misspelt filter must not return everything."""

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.types import Scope

from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value


def list_query_parameters(route: APIRoute) -> frozenset[str] | None:
    """Return the query parameters of a route and its dependencies; None: it is undocumented and takes any."""
    if not route.include_in_schema:
        return None
    names: set[str] = set()
    waiting: list[Dependant] = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        names.update(field.alias for field in dependant.query_params)
        waiting.extend(dependant.dependencies)
    return frozenset(names)


def reject_unknown_parameters(scope: Scope, known: frozenset[str] | None) -> None:
    """Reject unknown query parameters of a request.

    Args:
        scope: the ASGI scope of the request.
        known: what `list_query_parameters` returned for its route.

    Raises:
        InvalidError: `unknown_parameter`; the detail lists the known ones.
    """
    if known is None or not scope["query_string"]:
        return
    for name in QueryParams(scope["query_string"]):
        if name not in known:
            hint = (
                f"Use one of: {', '.join(sorted(known))}." if known else "This call has no query parameters."
            )
            raise InvalidError(
                f"There is no query parameter {format_rejected_value(name)}. {hint}", code="unknown_parameter"
            )
