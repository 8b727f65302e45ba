"""Calls the REST API: authorization, errors as exceptions with codes, paged lists, retries with back-off."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

JsonObject = dict[str, Any]
_PAGE = 100
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 5.0
_TOO_MANY = 429
_SERVER_ERRORS = 500


class UnreachableError(Exception):
    """The API did not answer, or answered 429 or 5xx; a retry may succeed."""


class ApiError(Exception):
    """The API refused a call.

    Attributes:
        status: The HTTP status.
        code: The problem's stable code.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"


class ApiClient:
    """A client with one key or session token, as an async context manager; an empty key sends none."""

    def __init__(self, address: str, key: str, *, timeout_s: float = 30.0) -> None:
        self.address = address
        self.key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, path: str, body: JsonObject | None = None, params: Mapping[str, str] | None = None
    ) -> JsonObject:
        """Call once.

        Returns:
            The response's object; an empty one if the response has no body.

        Raises:
            UnreachableError: No answer, 429 or 5xx.
            ApiError: Any other refusal.
        """
        if self._session is None:
            raise RuntimeError("the client is used outside of `async with`")
        try:
            async with self._session.request(method, self.address + path, json=body, params=params) as answer:
                if answer.status >= _SERVER_ERRORS or answer.status == _TOO_MANY:
                    raise UnreachableError(f"{method} {path}: {answer.status}")
                if not answer.ok:
                    problem = await answer.json(content_type=None)
                    code, detail = problem.get("code", "?"), problem.get("detail", problem.get("title", ""))
                    raise ApiError(answer.status, str(code), f"{method} {path}: {detail}")
                return {} if answer.status == 204 else dict(await answer.json())  # noqa: PLR2004 - No Content
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnreachableError(f"{method} {self.address}{path}: {error!r}") from error

    async def get(self, path: str, **params: str) -> JsonObject:
        """Read one object."""
        return await self.call("GET", path, params=params)

    async def post(self, path: str, body: JsonObject | None = None) -> JsonObject:
        """Create an object, or start an action."""
        return await self.call("POST", path, body if body is not None else {})

    async def patch(self, path: str, body: JsonObject) -> JsonObject:
        """Change the given fields."""
        return await self.call("PATCH", path, body)

    async def list(self, path: str, **params: str) -> AsyncIterator[JsonObject]:
        """Yield all entries of a list, page by page."""
        query = {"limit": str(_PAGE), **params}
        while True:
            page = await self.call("GET", path, params=query)
            for entry in page["data"]:
                yield entry
            if not page.get("next"):
                return
            query["cursor"] = str(page["next"])


async def retry_until_reachable[T](
    step: Callable[[], Awaitable[T]],
    *,
    give_up_after_s: float | None = None,
    print_line: Callable[[str], None] = print,
) -> T:
    """Retry a step with back-off while the API is unreachable. The step must be idempotent.

    Raises:
        UnreachableError: `give_up_after_s` has passed.
        ApiError: The API refused; a retry would not help.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    wait = _FIRST_WAIT_S
    while True:
        try:
            return await step()
        except UnreachableError as error:
            if give_up_after_s is not None and loop.time() - started + wait > give_up_after_s:
                raise
            print_line(f"the API does not answer, next attempt in {wait:.1f} s ({error})")
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))
        wait = min(wait * 2, _LONGEST_WAIT_S)
