"""Installs the HTTP middleware of the API, in its order."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware

from app.platform.config.platform_settings import PlatformSettings
from app.platform.http.fairness.token_buckets import BucketStore
from app.platform.http.middleware.admission import AdmissionMiddleware
from app.platform.http.middleware.api_cors import ApiCorsMiddleware, OpenDataCorsMiddleware
from app.platform.http.middleware.error_responses import ErrorMiddleware, RefusalReporter
from app.platform.http.middleware.request_context import RequestContextMiddleware


def install_middleware(
    app: FastAPI,
    settings: PlatformSettings,
    *,
    inside: Sequence[Middleware] = (),
    open_paths: Sequence[str] = (),
    report_refusal: RefusalReporter | None = None,
    buckets: BucketStore | None = None,
) -> None:
    """Add the middleware to an application.

    CORS is outside of the limits, as a browser must see refusals too.

    Args:
        app: The application, before its first request.
        settings: Limits, origins, and whether clients use https.
        inside: The caller's layers, which see only requests within the limits.
        open_paths: Where any web page may read open data without a key.
        report_refusal: Records refused requests.
        buckets: Where the buckets of the rate limits are, if processes share them.
    """
    api = settings.api
    bootstrap = settings.bootstrap_admin_key
    layers = [
        Middleware(RequestContextMiddleware, https=api.public_url.startswith("https:")),
        *(
            [Middleware(OpenDataCorsMiddleware, paths=open_paths, origins=api.cors_origins)]
            if open_paths
            else []
        ),
        *([Middleware(ApiCorsMiddleware, origins=api.cors_origins)] if api.cors_origins else []),
        Middleware(
            AdmissionMiddleware,
            settings=api,
            connections=settings.database.pool_size,
            bootstrap=None if bootstrap is None else bootstrap.get_secret_value(),
            buckets=buckets,
        ),
        *inside,
        Middleware(ErrorMiddleware, report_refusal=report_refusal),
    ]
    for layer in reversed(layers):
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
