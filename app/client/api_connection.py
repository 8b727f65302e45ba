"""Sends requests to the API: retries, errors and pages."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import httpx

from app import __version__
from app.client.client_errors import ApiError, UnreachableError
from app.client.profiles import URL_VARIABLE, Profile

type Parameters = Sequence[tuple[str, str]]
"""Query parameters; a name may be repeated."""

_TIMEOUT: Final = httpx.Timeout(70, connect=10)  # the API ends a request after 60 s
_ATTEMPTS: Final = 5
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = frozenset({502, 503, 504})
_BUSY: Final = _UNAVAILABLE | {_TOO_MANY}
_LONGEST_WAIT_S: Final = 30.0
PAGE_LIMIT: Final = 1000


class ApiConnection:
    """A connection to the API of one installation, as one key.

    Args:
        profile: The installation and the key.
        sleep: Waits before a retry.
    """

    def __init__(self, profile: Profile, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=profile.url,
            headers={"Authorization": f"Bearer {profile.key}", "User-Agent": f"vigie/{__version__}"},
            timeout=_TIMEOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, parameters: Parameters = ()) -> Any:  # noqa: ANN401 (JSON)
        """Read a resource; retries what may succeed later.

        Raises:
            ApiError: The API refused.
            UnreachableError: It did not answer.
        """
        return _read_json(self._send("GET", path, parameters))

    def get_with_etag(self, path: str) -> tuple[Any, str]:
        """Read a resource with its ETag."""
        answer = self._send("GET", path)
        return _read_json(answer), answer.headers.get("etag", "")

    def change(
        self, method: str, path: str, body: object = None, *, parameters: Parameters = (), etag: str = ""
    ) -> Any:  # noqa: ANN401 (JSON)
        """Create, change or delete a resource; `etag` must still be its ETag.

        Only a refusal that executed nothing is retried.
        """
        headers = {"If-Match": etag} if etag else {}
        answer = self._send(method, path, parameters, headers=headers, body=body)
        return _read_json(answer) if answer.content else None

    def pages(self, path: str, parameters: Parameters = ()) -> Iterator[Any]:
        """Yield the pages of a list, up to the last one."""
        cursor: str | None = None
        while True:
            page = self.get(path, (*parameters, *(() if cursor is None else (("cursor", cursor),))))
            yield page
            cursor = page.get("next")
            if cursor is None:
                return

    def rows(self, path: str, parameters: Parameters = (), *, limit: int | None = None) -> Iterator[Any]:
        """Yield the entries of a list; `limit` is the number of them, not of a page's."""
        size = PAGE_LIMIT if limit is None else min(limit, PAGE_LIMIT)
        left = limit
        for page in self.pages(path, (*parameters, ("limit", str(size)))):
            for row in page["data"]:
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield row
            if left == 0:
                return

    @contextmanager
    def stream(
        self,
        path: str,
        parameters: Parameters = (),
        *,
        headers: Mapping[str, str] | None = None,
        silence_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Open an answer that is read while it arrives. Nothing is retried.

        Args:
            path: The path, with or without a query.
            parameters: Query parameters.
            headers: Further headers.
            silence_s: The longest time without a byte; by default that of all requests.

        Raises:
            ApiError: The API refused.
            UnreachableError: It did not answer, is busy, or the answer broke off: a retry may succeed.
        """
        timeout = _TIMEOUT if silence_s is None else httpx.Timeout(silence_s, connect=10)
        try:
            with self._http.stream(
                "GET", path, params=list(parameters) or None, headers=dict(headers or {}), timeout=timeout
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    if answer.status_code in _BUSY:
                        raise UnreachableError(_describe_unavailable(answer))
                    raise _make_error(answer)
                yield answer
        except httpx.TransportError as error:
            raise UnreachableError(_describe(error)) from None

    def _send(
        self,
        method: str,
        path: str,
        parameters: Parameters = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> httpx.Response:
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                answer = self._http.request(
                    method, path, params=list(parameters) or None, headers=dict(headers or {}), json=body
                )
            except httpx.TransportError as error:
                if last or method != "GET":
                    raise UnreachableError(_describe(error)) from None
                self._sleep(_back_off(attempt))
                continue
            if answer.is_success:
                return answer
            if last or not _may_retry(method, answer.status_code):
                break
            self._sleep(_read_wait(answer, attempt))
        if answer.status_code in _UNAVAILABLE:
            raise UnreachableError(_describe_unavailable(answer))
        raise _make_error(answer)


def _may_retry(method: str, status: int) -> bool:
    # After a 504 of a change, the change may have been made.
    return status in {_TOO_MANY, 503} or (method == "GET" and status in _UNAVAILABLE)


def _back_off(attempt: int) -> float:
    return min(0.5 * 2.0**attempt, _LONGEST_WAIT_S) * random.uniform(0.5, 1)  # noqa: S311 (jitter)


def _read_wait(answer: httpx.Response, attempt: int) -> float:
    try:
        return min(float(answer.headers["retry-after"]), _LONGEST_WAIT_S)
    except (KeyError, ValueError):
        return _back_off(attempt)


def _describe(error: httpx.TransportError) -> str:
    # The text of an error of the request may contain a header, and so the key.
    said = "" if isinstance(error, httpx.LocalProtocolError) else str(error)
    return f"The API did not answer, or broke off: {said or type(error).__name__}. Try again."


def _describe_unavailable(answer: httpx.Response) -> str:
    return f"The API is not available now: {_make_error(answer)} Try again."


def _make_error(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        address = answer.url.copy_with(query=None)
        if answer.has_redirect_location:
            moved = httpx.URL(answer.headers["location"]).copy_with(query=None, userinfo=b"")
            detail = (
                f"{address} redirects to {moved}. Log in to the new address, or set {URL_VARIABLE} to it."
            )
        else:
            detail = (
                f"{address} answered {answer.status_code} without a problem document. Is it the address of "
                "Vigie's API?"
            )
        problem = {"detail": detail}
    return ApiError(answer.status_code, problem)


def _read_json(answer: httpx.Response) -> Any:  # noqa: ANN401 (JSON)
    try:
        return answer.json()
    except ValueError:
        raise UnreachableError(
            f"{answer.url.copy_with(query=None)} answered without JSON. Is it the address of Vigie's API?"
        ) from None
