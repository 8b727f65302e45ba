"""Calls the public API in the same process, with the session of the person who looks at a page.

A call passes through the whole application, as one from outside does: its limits, authentication, validation
and audit log apply.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import httpx
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from app.platform.kernel.errors import VigieError
from app.platform.observability.metrics_and_logs import current_request_id

_ORIGIN: Final = "http://127.0.0.1"
_ERROR: Final = 400
_UNAUTHORISED: Final = 401
# Codes of a 401 about the session itself; others are about a code or passkey that a person gave.
_SESSION_ENDED: Final = frozenset({"unauthorised", "session_expired"})
_NO_CONTENT: Final = 204
_NOT_FOUND: Final = 404
_DOTS: Final = frozenset({".", ".."})

type QueryValue = str | int | float | bool | Sequence[str] | None
"""A query parameter; None and the empty text leave it out, a sequence repeats it."""


class FieldFault(NamedTuple):
    """A fault of one field.

    Attributes:
        field: The path of the field, such as `condition.threshold`.
        code: A stable code.
        detail: What happened and what to do.
    """

    field: str
    code: str
    detail: str


class ApiProblemError(VigieError):
    """An error response of the API.

    Attributes:
        faults: The faults of single fields.
        problem: The whole problem.
    """

    def __init__(self, problem: Mapping[str, Any], status: int, *, retry_after_s: int | None = None) -> None:
        super().__init__(str(problem.get("detail", "")), code=str(problem.get("code", "")))
        self.status = status
        self.retry_after_s = retry_after_s
        self.problem = problem
        self.faults = [
            FieldFault(
                str(each.get("field", "")).removeprefix("body."),
                str(each.get("code", "")),
                str(each.get("detail", "")),
            )
            for each in problem.get("errors") or []
        ]


class SignInNeededError(Exception):
    """The page needs a sign-in: there is none, it has expired, or it was ended."""


class ApiCall(NamedTuple):
    """A call that a page made, which it shows to developers.

    Attributes:
        method: The method.
        url: The path with its query.
        tag: The group of the operation in Swagger UI; empty if unknown.
        operation: The id of the operation; empty if unknown.
    """

    method: str
    url: str
    tag: str
    operation: str


def encode_query(query: Mapping[str, QueryValue]) -> str:
    """Encode query parameters without those that have no value."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None or value == "":
            continue
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int | float):
            pairs.append((name, str(value)))
        else:
            pairs += [(name, each) for each in value]
    return urlencode(pairs)


def build_next_address(cursor: str | None, query: Mapping[str, QueryValue]) -> str:
    """Return the query of a list's next page.

    Args:
        cursor: `next` of the present page; None: it is the last one.
        query: The filters of the list.
    """
    return "" if cursor is None else f"?{encode_query({**query, 'cursor': cursor})}"


@dataclass(slots=True)
class ConsoleApi:
    """The API as one person sees it.

    Attributes:
        app: The application.
        token: The session token; None without a session.
        client: Address and port of the browser, for limits and the audit log.
        agent: The browser, as it names itself.
        calls: The calls so far.
    """

    app: FastAPI
    token: str | None
    client: tuple[str, int]
    agent: str = ""
    calls: list[ApiCall] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, token: str | None) -> "ConsoleApi":
        """Make the API of a page's request."""
        client = request.client
        return cls(
            request.app,
            token,
            ("", 0) if client is None else (client.host, client.port),
            request.headers.get("user-agent", ""),
        )

    async def get(self, path: str, **query: QueryValue) -> Any:  # noqa: ANN401 (JSON)
        """Read a resource."""
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: object = None, **headers: str) -> Any:  # noqa: ANN401 (JSON)
        """Create a resource or run an action; `headers` have underscores for hyphens."""
        return await self.call("POST", path, body=body, headers=headers)

    async def put(self, path: str, body: object) -> Any:  # noqa: ANN401 (JSON)
        """Replace a resource."""
        return await self.call("PUT", path, body=body)

    async def patch(self, path: str, body: object) -> Any:  # noqa: ANN401 (JSON)
        """Change the given fields of a resource."""
        return await self.call("PATCH", path, body=body)

    async def delete(self, path: str) -> None:
        """Delete a resource."""
        await self.call("DELETE", path)

    async def get_all(self, *paths: str) -> list[Any]:
        """Read several resources at the same time, by their paths with queries."""
        return list(await asyncio.gather(*(self.call("GET", path) for path in paths)))

    async def get_unless_refused(self, path: str, **query: QueryValue) -> Any:  # noqa: ANN401 (JSON)
        """Read a resource; None if the person may not read it (403) or it does not exist (404)."""
        try:
            return await self.get(path, **query)
        except ApiProblemError as error:
            if error.status in {403, 404}:
                return None
            raise

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, QueryValue] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 (JSON)
        """Call the API and return the JSON of its response; None for one without a body.

        Raises:
            SignInNeededError: The session is unknown or has ended.
            ApiProblemError: Any other error response.
        """
        answer = await self.fetch(method, path, query=query, body=body, headers=headers)
        return None if answer.status_code == _NO_CONTENT or not answer.content else answer.json()

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, QueryValue] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call the API and return its response, for content that is not JSON.

        A body of bytes is sent as it is; give its `content_type` in `headers`.

        Raises:
            SignInNeededError, ApiProblemError: As `call`.
        """
        _check_path(path)
        encoded = encode_query(query or {})
        url = f"{path}?{encoded}" if encoded else path
        seen: list[Scope] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope)
            await self.app(scope, receive, send)

        request = httpx.Request(
            method,
            f"{_ORIGIN}{url}",
            json=None if isinstance(body, bytes) else body,
            content=body if isinstance(body, bytes) else None,
            headers=httpx.Headers(
                {**self._headers(), **{k.replace("_", "-"): _clean(v) for k, v in (headers or {}).items()}},
                encoding="latin-1",
            ),
        )
        transport = httpx.ASGITransport(application, client=self.client)
        # A task of its own: the request's context (its id, its caller) is not that of the page.
        answer = await asyncio.create_task(_exchange(transport, request))
        self.calls.append(_describe(method, url, seen))
        if answer.status_code < _ERROR:
            return answer
        raise self.make_error(answer.status_code, answer.headers, answer.content)

    def make_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        """Make the exception for an error response: `SignInNeededError` or `ApiProblemError`.

        Args:
            status: The status.
            headers: The headers; names in lower case.
            body: The body.
        """
        wait = headers.get("retry-after", "")
        problem = ApiProblemError(
            _read_problem(headers.get("content-type", ""), body),
            status,
            retry_after_s=int(wait) if wait.isdecimal() else None,
        )
        if status == _UNAUTHORISED and self.token is not None and problem.code in _SESSION_ENDED:
            return SignInNeededError()
        return problem

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of a call as ASGI has them, for calls whose body is streamed."""
        return [(name.lower().encode(), value.encode("latin-1")) for name, value in self._headers().items()]

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": self.agent}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request_id = current_request_id()
        if request_id:
            headers["X-Request-Id"] = request_id
        return {name: _clean(value) for name, value in headers.items()}


def _clean(value: str) -> str:
    """Replace what a header cannot have: a browser may send any bytes, and a person paste any text."""
    return value.encode("latin-1", "replace").decode("latin-1")


def _check_path(path: str) -> None:
    """Refuse a path that would lead to another resource: an address of the console has an id of this kind."""
    segments = path.partition("?")[0].split("/")
    if not path.isprintable() or not _DOTS.isdisjoint(segments):
        raise ApiProblemError(
            {"detail": "There is nothing at this address.", "code": "not_found"}, _NOT_FOUND
        )


async def _exchange(transport: httpx.ASGITransport, request: httpx.Request) -> httpx.Response:
    answer = await transport.handle_async_request(request)
    await answer.aread()
    return answer


def _read_problem(media_type: str, body: bytes) -> Mapping[str, Any]:
    if media_type.startswith("application/problem+json"):
        problem: Mapping[str, Any] = json.loads(body)
        return problem
    return {"detail": body.decode(errors="replace")[:500], "code": ""}


def _describe(method: str, url: str, seen: Sequence[Scope]) -> ApiCall:
    route = seen[0].get("route") if seen else None
    if not isinstance(route, APIRoute):
        return ApiCall(method, url, "", "")
    tag = str(route.tags[0]) if route.tags else ""
    return ApiCall(method, url, tag, route.operation_id or route.unique_id)
