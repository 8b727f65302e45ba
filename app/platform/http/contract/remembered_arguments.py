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
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any, Final, NamedTuple

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant

from app.platform.identity.caller_authentication import Principal, authenticate_request

_MOST_CALLS: Final = 500
_LONGEST_QUERY: Final = 1_000
_CACHE: Final = "argument_cache"

type Endpoint = Callable[..., Awaitable[Response]]

_arguments: Final[ContextVar[list[Mapping[str, Any]] | None]] = ContextVar("vigie_arguments", default=None)


class _RememberedCall(NamedTuple):
    """The arguments of a call, which hold for one object of its caller.

    A caller whose rights may have changed is another object (`app.platform.identity.principal_cache`).
    """

    principal: Principal
    arguments: Mapping[str, Any]


class ArgumentCache:
    """The arguments of recent calls of one route.

    Args:
        endpoint: the function of the route.
        most: maximum calls; the least recently used one is evicted.
    """

    def __init__(self, endpoint: Endpoint, most: int = _MOST_CALLS) -> None:
        self._endpoint = endpoint
        self._most = most
        # By the caller's object, path and query.
        self._calls: OrderedDict[tuple[int, str, bytes], _RememberedCall] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    async def answer(self, request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer a request.

        Args:
            request: the request, whose caller is authenticated here (UnauthorisedError).
            handler: FastAPI's handler of the route, which resolves the arguments.
        """
        principal = await authenticate_request(request)
        key = id(principal), request.scope["path"], request.scope["query_string"]
        known = self._calls.get(key)
        if known is not None and known.principal is principal:
            self._calls.move_to_end(key)
            return await self._endpoint(**known.arguments)
        found: list[Mapping[str, Any]] = []
        token = _arguments.set(found)
        try:
            response = await handler(request)
        finally:
            _arguments.reset(token)
        if found and len(key[-1]) <= _LONGEST_QUERY:
            self._calls[key] = _RememberedCall(principal, found[0])
            if len(self._calls) > self._most:
                self._calls.popitem(last=False)
        return response


def remember_arguments(endpoint: Endpoint) -> Endpoint:
    """Mark the function of a route whose arguments depend on its caller and its address alone.

    They must not depend on the time or on the body, and must serve concurrent calls: a session does not.
    """

    @wraps(endpoint)
    async def call(**arguments: Any) -> Response:  # noqa: ANN401 (whatever the endpoint takes)
        found = _arguments.get()
        if found is not None:
            found.append(arguments)
        return await endpoint(**arguments)

    setattr(call, _CACHE, ArgumentCache(endpoint))
    return call


def get_argument_cache(endpoint: Callable[..., Any], dependant: Dependant) -> ArgumentCache | None:
    """Return the cache of a route's function; None if it is not marked.

    Raises:
        TypeError: a dependency of a marked function ends with its request, as a session does.
    """
    cache: ArgumentCache | None = getattr(endpoint, _CACHE, None)
    if cache is not None and any(map(_ends_with_request, dependant.dependencies)):
        raise TypeError(endpoint)
    return cache


def _ends_with_request(dependant: Dependant) -> bool:
    ends = isasyncgenfunction(dependant.call) or isgeneratorfunction(dependant.call)
    return ends or any(map(_ends_with_request, dependant.dependencies))
