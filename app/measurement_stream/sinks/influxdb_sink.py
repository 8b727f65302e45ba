"""Writes samples to InfluxDB, or to another database that accepts its line protocol by HTTP."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from app.measurement_stream.formats import influx_lines
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.measurement_stream.sinks.webhook_sink import compress_body
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.notifications.http.http_transport import HttpTransport

REJECTED: Final = "rejected"
"""The reason of a receiver that refused the content of a batch for good: again, it would be refused too."""

_OF_THE_CONTENT: Final = frozenset({400, 422})


def classify_write(outcome: AttemptOutcome) -> AttemptOutcome:
    """Return the outcome of a write request: these receivers answer 400 or 422 to points they never take."""
    return outcome._replace(reason=REJECTED) if outcome.status in _OF_THE_CONTENT else outcome


def build_authorization(config: SinkConfig, scheme: str) -> Mapping[str, str]:
    """Build the header of a login by token, or by account and password; empty without credentials.

    Args:
        config: The sink.
        scheme: The scheme of a token: `Token` or `Bearer`.
    """
    token = config.credentials.get("token")
    if token is not None:
        return {"authorization": f"{scheme} {token}"}
    password = config.credentials.get("password")
    if password is None:
        return {}
    login = base64.b64encode(f"{config.target.get('username') or ''}:{password}".encode()).decode()
    return {"authorization": f"Basic {login}"}


class InfluxdbSink:
    """Posts lines to a write URL.

    Args:
        config: `target`: `url`, `measurement`, `username`; `credentials`: `token` or `password`.
        http: Posts to public addresses only.
    """

    def __init__(self, config: SinkConfig, http: HttpTransport) -> None:
        self._config = config
        self._http = http

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:
        """Write the samples of a batch."""
        target = self._config.target
        lines = influx_lines.encode_batch(batch, target["measurement"])
        if not lines and batch.items:
            return AttemptOutcome(DELIVERED, None, None, 0.0)
        body, encoding = compress_body(lines, is_wanted=self._config.gzip)
        headers = {
            **build_authorization(self._config, "Token"),
            **encoding,
            "content-type": influx_lines.MEDIA_TYPE,
        }
        return classify_write(await self._http.post(target["url"], headers, body, now))

    async def close(self) -> None:
        """Do nothing: connections are shared."""
