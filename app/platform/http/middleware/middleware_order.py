"""Installs the HTTP middleware of the API, in its order."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware

from app.platform.config.platform_settings import PlatformSettings
from app.platform.http.contract.deprecation import DeprecationMiddleware
from app.platform.http.fairness.concurrency_limits import ConcurrencyLimits
from app.platform.http.fairness.deadlines_and_concurrency import (
    ConcurrencyMiddleware,
    DeadlineMiddleware,
)
from app.platform.http.fairness.rate_limits import RateLimitMiddleware
from app.platform.http.middleware.request_head_checks import (
    HeadMethodMiddleware,
    RequestHeadLimitMiddleware,
)
from app.platform.http.middleware.request_metrics import RequestMetricsMiddleware, UnexpectedErrorMiddleware
from app.platform.http.middleware.security_headers import ApiCorsMiddleware, SecurityHeadersMiddleware


def install_middleware(
    app: FastAPI, settings: PlatformSettings, *, inside: Sequence[Middleware] = ()
) -> None:
    """Add the middleware to an application.

    Each layer refuses as early as it can, at the least cost. CORS is outside of the limits, as a browser must
    see refusals too.

    Args:
        app: The application, before its first request.
        settings: Limits, origins, and whether clients use https.
        inside: The caller's layers, which see only requests within the limits.
    """
    api = settings.api
    bootstrap = settings.bootstrap_admin_key
    layers = [
        Middleware(SecurityHeadersMiddleware, https=api.public_url.startswith("https:")),
        *([Middleware(ApiCorsMiddleware, origins=api.cors_origins)] if api.cors_origins else []),
        Middleware(HeadMethodMiddleware),
        Middleware(RequestHeadLimitMiddleware),
        Middleware(
            RateLimitMiddleware,
            settings=api,
            bootstrap=None if bootstrap is None else bootstrap.get_secret_value(),
        ),
        Middleware(RequestMetricsMiddleware),
        Middleware(DeadlineMiddleware, seconds=api.deadline_s),
        Middleware(
            ConcurrencyMiddleware, limits=ConcurrencyLimits(api, connections=settings.database.pool_size)
        ),
        Middleware(DeprecationMiddleware),
        *inside,
        Middleware(UnexpectedErrorMiddleware),
    ]
    for layer in reversed(layers):
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
