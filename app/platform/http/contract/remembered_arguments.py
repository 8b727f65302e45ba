"""Remembers the arguments of routes that clients poll, by caller and address.

FastAPI resolves and validates the arguments of each call anew. For a list with many filters this takes as
long as its query and its response together. The routes that `remember_arguments` marks are called again with
the arguments of an earlier, valid call of the same caller to the same address.

    @router.get("")
    @remember_arguments
    async def list_sites(principal: SitesReader, reader: ReaderDependency, …) -> Response:
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, isgeneratorfunction, unwrap
from typing import Any, Final, NamedTuple
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant

from app.platform.identity.caller_authentication import Principal, authenticate_request

_MOST_CALLS: Final = 2_000
_LONGEST_QUERY: Final = 1_000
_ENDPOINT: Final = "remembered_endpoint"

type Endpoint = Callable[..., Awaitable[Response]]

_arguments: Final[ContextVar[list[Mapping[str, Any]] | None]] = ContextVar("vigie_arguments", default=None)


class _RememberedCall(NamedTuple):
    """The arguments of a call. They are valid while the caller has the same rights."""

    principal: Principal
    arguments: Mapping[str, Any]


class ArgumentCache:
    """The arguments of recent calls of an application.

    Args:
        most: maximum calls; the least recently used one is evicted.
    """

    def __init__(self, most: int = _MOST_CALLS) -> None:
        self._most = most
        # By the key or person, path and query.
        self._calls: OrderedDict[tuple[UUID, str, bytes], _RememberedCall] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    async def answer(
        self, request: Request, endpoint: Endpoint, handler: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Answer a request.

        Args:
            request: the request, whose caller is authenticated here (UnauthorisedError).
            endpoint: the function of its route.
            handler: FastAPI's handler of the route, which resolves the arguments.
        """
        principal = await authenticate_request(request)
        key = principal.key_id, request.scope["path"], request.scope["query_string"]
        known = self._calls.get(key)
        if known is not None and known.principal == principal:
            self._calls.move_to_end(key)
            return await endpoint(**known.arguments)
        found: list[Mapping[str, Any]] = []
        token = _arguments.set(found)
        try:
            response = await handler(request)
        finally:
            _arguments.reset(token)
        if found and len(key[-1]) <= _LONGEST_QUERY:
            self._calls[key] = _RememberedCall(principal, found[0])
            self._calls.move_to_end(key)
            if len(self._calls) > self._most:
                self._calls.popitem(last=False)
        return response


def remember_arguments(endpoint: Endpoint) -> Endpoint:
    """Mark the function of a route whose arguments depend on its caller and its address alone.

    They must not depend on the time, on headers or on the body, and must serve concurrent calls: a session
    does not.
    """

    @wraps(endpoint)
    async def call(**arguments: Any) -> Response:  # noqa: ANN401 (whatever the endpoint takes)
        found = _arguments.get()
        if found is not None:
            found.append(arguments)
        return await endpoint(**arguments)

    setattr(call, _ENDPOINT, endpoint)
    return call


def get_remembered_endpoint(function: Callable[..., Any], dependant: Dependant) -> Endpoint | None:
    """Return the endpoint that `remember_arguments` wrapped; None if a route's function is not marked.

    Raises:
        TypeError: arguments of a marked function belong to one request.
    """
    endpoint: Endpoint | None = getattr(function, _ENDPOINT, None)
    if endpoint is None:
        return None
    if (
        dependant.request_param_name
        or dependant.response_param_name
        or dependant.background_tasks_param_name
        or _belongs_to_request(dependant)
    ):
        raise TypeError(function)
    return endpoint


def _belongs_to_request(dependant: Dependant) -> bool:
    """Return whether a header or cookie is read, or a dependency ends with the request, as a session does."""
    call = unwrap(dependant.call) if dependant.call is not None else None
    functions = call, getattr(call, "__call__", None)  # noqa: B004 (an object that yields)
    yields = any(isasyncgenfunction(each) or isgeneratorfunction(each) for each in functions)
    reads = bool(dependant.header_params or dependant.cookie_params)
    return yields or reads or any(map(_belongs_to_request, dependant.dependencies))
