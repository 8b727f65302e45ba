"""Sends the latest values of each batch by Prometheus remote write 1.0."""

from datetime import datetime

from app.measurement_stream.formats import remote_write
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.influxdb_sink import build_authorization, classify_write
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.notifications.http.http_transport import HttpTransport


class PrometheusSink:
    """Posts write requests to a URL.

    Args:
        config: `target`: `url`, `username`; `credentials`: `token` or `password`.
        http: Posts to public addresses only.
    """

    def __init__(self, config: SinkConfig, http: HttpTransport) -> None:
        self._config = config
        self._http = http

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:
        """Write the latest values of a batch; late values alone need no request."""
        body = remote_write.encode_batch(batch)
        if not body and batch.items:
            return AttemptOutcome(DELIVERED, None, None, 0.0)
        headers = {
            **build_authorization(self._config, "Bearer"),
            **remote_write.HEADERS,
            "content-type": remote_write.MEDIA_TYPE,
        }
        return classify_write(await self._http.post(self._config.target["url"], headers, body, now))

    async def close(self) -> None:
        """Do nothing: connections are shared."""
