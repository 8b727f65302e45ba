"""Authenticates the operator of the installation, for metrics and details that clients must not see."""

import hmac
from ipaddress import ip_address
from typing import Final

from starlette.requests import Request

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.request_head import read_request_head
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ForbiddenError, UnauthorisedError

_SIGN_IN: Final = "Send `Authorization: Bearer …` with the token of VIGIE_API__METRICS_TOKEN."
_LOCAL_ONLY: Final = (
    "Without a token (VIGIE_API__METRICS_TOKEN) only clients on Vigie's own machine may read this."
)


def is_operator(bearer: str | None, host: str | None, settings: ApiSettings) -> bool:
    """Return whether the request is the operator's.

    Args:
        bearer: The bearer token; None for none.
        host: The client's address; None behind a proxy, whose address proves nothing.
        settings: Holds the metrics token. Without a token, requests from this machine are the operator's.
    """
    if settings.metrics_token is not None:
        token = settings.metrics_token.get_secret_value().encode()
        return bearer is not None and hmac.compare_digest(bearer.encode(), token)
    return host is not None and _is_local(host)


def is_operator_request(request: Request) -> bool:
    """Return whether a request to the API is the operator's."""
    head = read_request_head(request.scope)
    host = None if head.forwarded or request.client is None else request.client.host
    return is_operator(head.bearer, host, get_resource(request.app, ApiSettings))


async def require_operator(request: Request) -> None:
    """FastAPI dependency: 401 or 403 for anyone but the operator."""
    if is_operator_request(request):
        return
    if get_resource(request.app, ApiSettings).metrics_token is not None:
        raise UnauthorisedError(_SIGN_IN)
    raise ForbiddenError(_LOCAL_ONLY, code="operators_only")


def _is_local(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
