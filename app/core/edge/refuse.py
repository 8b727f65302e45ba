"""How the edge refuses: a problem like any other, counted."""

from collections.abc import Mapping

from starlette.responses import Response

from app.core.errors import VigieError
from app.core.observability import HTTP_REFUSED
from app.core.problems import problem_of


def refusal(error: VigieError, *, policy: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request of which nothing was looked at; `policy` is the limit that it broke."""
    HTTP_REFUSED.labels(error.code, policy).inc()
    response = problem_of(error)
    response.headers.update(headers or {})
    return response
