"""Query parameters that a route does not know are refused: a misspelt filter must not give everything."""

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value


def _known(route: APIRoute) -> frozenset[str]:
    """The names that a route and what it depends on take from the query."""
    names: set[str] = set()
    waiting: list[Dependant] = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        names.update(field.alias for field in dependant.query_params)
        waiting.extend(dependant.dependencies)
    return frozenset(names)


async def reject_unknown_parameters(request: Request) -> None:
    """FastAPI dependency of every route.

    Raises:
        InvalidError: `unknown_parameter`; the detail names those that there are.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = _known(route)
    for name in request.query_params:
        if name not in known:
            there = f"There are: {', '.join(sorted(known))}." if known else "This call takes none."
            raise InvalidError(
                f"There is no parameter {format_rejected_value(name)}. {there}", code="unknown_parameter"
            )
