"""Shares objects of the application with its routes, one of each type: the database, settings, pools.

`app.processes.api_application` provides them. A route asks for the type that it needs, so that type checkers
know what it gets, and a room imports nothing above it.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.applications import Starlette


def provide_resources(app: Starlette, *resources: object) -> None:
    """Provide objects, each under its own type. A later one replaces an earlier one of the same type."""
    _resources_of(app).update((type(resource), resource) for resource in resources)


def get_resource[T](app: Starlette, kind: type[T]) -> T:
    """Return the object of a type (LookupError: the application provides none)."""
    found = _resources_of(app).get(kind)
    if isinstance(found, kind):
        return found
    raise LookupError(f"The application provides no {kind.__name__}: call `provide_resources` with one.")


def make_resource_dependency[T](kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """Make the FastAPI dependency on the object of a type."""

    # Asynchronous although it does not wait: FastAPI would run it in a thread.
    async def dependency(request: Request) -> T:
        return get_resource(request.app, kind)

    return dependency


def _resources_of(app: Starlette) -> dict[type, object]:
    if not hasattr(app.state, "resources"):
        app.state.resources = {}
    resources: dict[type, object] = app.state.resources
    return resources
