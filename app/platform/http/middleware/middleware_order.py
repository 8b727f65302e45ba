"""The order of the edge: which layer a request goes through first."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware

from app.platform.config.settings import Settings
from app.platform.http.contract.deprecation import Deprecations
from app.platform.http.fairness.concurrency_limits import Lines
from app.platform.http.fairness.rate_limits import Throttle
from app.platform.http.fairness.request_deadlines import Deadline, TakingTurns
from app.platform.http.middleware.cors import Cors
from app.platform.http.middleware.head_method import Heads
from app.platform.http.middleware.request_line_limits import Form
from app.platform.http.middleware.request_metrics import Failsafe, Observed
from app.platform.http.middleware.security_headers import Envelope


def install(app: FastAPI, settings: Settings, *, inside: Sequence[Middleware] = ()) -> None:
    """Put the edge around an application.

    What is refused is refused as far outside as it can be, and costs no more than that; but a browser has to
    see a refusal too, so CORS stands outside of the limits.

    Args:
        app: The application, before its first request.
        settings: Limits, origins, whether it is reached by https.
        inside: Layers of the caller's, which see what the limits let through.
    """
    api = settings.api
    bootstrap = settings.bootstrap_admin_key
    layers = [
        Middleware(Envelope, https=api.public_url.startswith("https:")),
        *([Middleware(Cors, origins=api.cors_origins)] if api.cors_origins else []),
        Middleware(Heads),
        Middleware(Form),
        Middleware(
            Throttle, settings=api, bootstrap=None if bootstrap is None else bootstrap.get_secret_value()
        ),
        Middleware(Observed),
        Middleware(Deadline, seconds=api.deadline_s),
        Middleware(TakingTurns, lines=Lines(api, connections=settings.database.pool_size)),
        Middleware(Deprecations),
        *inside,
        Middleware(Failsafe),
    ]
    for layer in reversed(layers):
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
