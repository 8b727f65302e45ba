"""Defines the exceptions that become HTTP error responses, each with a status and a stable code.

VigieError
├── NotFoundError          404 not_found
├── ConflictError          409 (a code for each conflict)
├── InvalidError           422 (a code for each fault)
├── UnauthorisedError      401 unauthorised
├── ForbiddenError         403 forbidden
├── TooManyRequestsError   429 (a code for each limit)
├── MalformedRequestError  400 invalid_http; 414, 431 and others with their own codes
├── DeadlineExceededError  504 deadline_exceeded
└── UnavailableError       503 unavailable

Each carries a stable `code`. Clients match on the code, never on the text.
`app.platform.http.contract.problems` turns errors into `application/problem+json`.
"""

from collections.abc import Mapping
from typing import Any, Self


class VigieError(Exception):
    """An error with a stable code, an HTTP status, and a detail that says what to do."""

    status = 500
    code = "internal"
    retry_after_s: int | None = None
    """Seconds after which the client may retry; None where that is unknown."""

    def __init__(
        self, detail: str, *, code: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = dict(extra or {})


class NotFoundError(VigieError):
    """The resource does not exist, or belongs to another organisation: clients cannot distinguish the two."""

    status = 404
    code = "not_found"

    def __init__(self, what: str, identifier: object) -> None:
        super().__init__(f"There is no {what} {str(identifier)[:64]!r}.")


class ConflictError(VigieError):
    """The request contradicts the current state of the resource."""

    status = 409
    code = "conflict"


class InvalidError(VigieError):
    """The request was understood but cannot be processed."""

    status = 422
    code = "invalid"

    def at(self, field: str) -> Self:
        """Attribute the error to a field, such as `body.url`, and list it in `errors`."""
        self.extra["errors"] = [{"field": field, "code": self.code, "detail": self.detail}]
        self.detail = f"{field}: {self.detail}"
        return self


class UnauthorisedError(VigieError):
    """The key is missing or not valid."""

    status = 401
    code = "unauthorised"


class ForbiddenError(VigieError):
    """The key is valid but lacks a scope."""

    status = 403
    code = "forbidden"


class TooManyRequestsError(VigieError):
    """A rate or attempt limit was exceeded; `retry_after_s` says when to retry."""

    status = 429
    code = "too_many_attempts"

    def __init__(self, detail: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class UnavailableError(VigieError):
    """A dependency of this call is down. The client may retry."""

    status = 503
    code = "unavailable"


class MalformedRequestError(VigieError):
    """A request whose head cannot be parsed or exceeds a limit."""

    status = 400
    code = "invalid_http"

    def __init__(self, detail: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.status = status


class DeadlineExceededError(VigieError):
    """The request exceeded its deadline and was cancelled."""

    status = 504
    code = "deadline_exceeded"
