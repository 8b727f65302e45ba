"""How the edge refuses: a problem like any other, counted."""

from collections.abc import Mapping

from starlette.responses import Response

from app.platform.http.contract.problems import make_error_response
from app.platform.kernel.errors import VigieError
from app.platform.observability.metrics_and_logs import HTTP_REFUSED


def count_http_refusal(error: VigieError, *, policy: str = "") -> None:
    """Count a refusal; `policy` is the limit that the request broke."""
    HTTP_REFUSED.labels(error.code, policy).inc()


def make_refusal_response(
    error: VigieError, *, policy: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request of which nothing was looked at, counted."""
    count_http_refusal(error, policy=policy)
    response = make_error_response(error)
    response.headers.update(headers or {})
    return response
