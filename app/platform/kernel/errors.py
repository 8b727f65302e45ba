"""The errors that reach a client, and nothing else.

VigieError
├── NotFoundError          404 not_found
├── ConflictError          409 (its code says what)
├── InvalidError           422 (its code says what)
├── UnauthorisedError      401 unauthorised
├── ForbiddenError         403 forbidden
├── TooManyRequestsError   429 (its code says of what)
├── MalformedRequestError  400 invalid_http; 414, 431 and others with a code of their own
├── DeadlineError          504 deadline_exceeded
└── UnavailableError       503 unavailable

Each carries a stable `code`: clients match on it, never on texts. How they become
`application/problem+json` is `app.platform.http.contract.problems`' matter.
"""

from collections.abc import Mapping
from typing import Any, Self


class VigieError(Exception):
    """An error with a stable code, an HTTP status, and a detail that says what to do."""

    status = 500
    code = "internal"
    retry_after_s: int | None = None
    """When it may be tried again (whole seconds), where that is known."""

    def __init__(
        self, detail: str, *, code: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = dict(extra or {})


class NotFoundError(VigieError):
    """There is no such thing, or it belongs to another organisation: the two look the same."""

    status = 404
    code = "not_found"

    def __init__(self, what: str, identifier: object) -> None:
        super().__init__(f"There is no {what} {str(identifier)[:64]!r}.")


class ConflictError(VigieError):
    """What is asked contradicts what is there."""

    status = 409
    code = "conflict"


class InvalidError(VigieError):
    """The request was understood and cannot be carried out."""

    status = 422
    code = "invalid"

    def at(self, field: str) -> Self:
        """The same as a fault of one field, such as `body.url`, which is named in `errors` too."""
        self.extra["errors"] = [{"field": field, "code": self.code, "detail": self.detail}]
        self.detail = f"{field}: {self.detail}"
        return self


class UnauthorisedError(VigieError):
    """No key, or not a valid one."""

    status = 401
    code = "unauthorised"


class ForbiddenError(VigieError):
    """The key is valid and lacks a scope."""

    status = 403
    code = "forbidden"


class TooManyRequestsError(VigieError):
    """Tried too often; `retry_after_s` says when it may be tried again (whole seconds)."""

    status = 429
    code = "too_many_attempts"

    def __init__(self, detail: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class UnavailableError(VigieError):
    """Something that this call needs is down; it may be tried again."""

    status = 503
    code = "unavailable"


class MalformedRequestError(VigieError):
    """A request whose head cannot be read, or is not worth reading."""

    status = 400
    code = "invalid_http"

    def __init__(self, detail: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.status = status


class DeadlineExceededError(VigieError):
    """It took too long, and was given up."""

    status = 504
    code = "deadline_exceeded"
