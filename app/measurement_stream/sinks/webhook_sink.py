"""Posts batches to a webhook, signed according to Standard Webhooks 1.0.

The `webhook-id` is derived from the batch, so it is the same on every attempt and replay. The signature
covers the body before its compression: most frameworks decompress a body before a program sees it. Former
secrets sign too until their overlap ends.
"""

import gzip
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.sink_types import FORMER_SECRETS, SinkConfig
from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.http.http_transport import HttpTransport
from app.notifications.http.webhook_secrets import filter_active_secrets
from app.notifications.http.webhook_signatures import sign_message

_GZIP_LEVEL: Final = 6


def compress_body(body: bytes, *, is_wanted: bool) -> tuple[bytes, Mapping[str, str]]:
    """Compress a body if that is wanted; returns it with its header."""
    if not is_wanted:
        return body, {}
    # Without the time, a repeated batch has the same bytes.
    return gzip.compress(body, _GZIP_LEVEL, mtime=0), {"content-encoding": "gzip"}


class WebhookSink:
    """Posts batches to a URL of the client.

    Args:
        config: `target`: `url`; `credentials`: `secret`, `former_secrets`, and custom `headers`.
        http: Posts to public addresses only.
    """

    def __init__(self, config: SinkConfig, http: HttpTransport) -> None:
        self._config = config
        self._http = http

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:
        """Post a batch."""
        config = self._config
        encode = config.chosen_format.encode_batch
        if encode is None:
            return AttemptOutcome("not_configured", None, "the format has no bodies of a batch", 0.0)
        plain = encode(batch)
        message_id, timestamp = build_message_id(batch.id), int(now.timestamp())
        body, encoding = compress_body(plain, is_wanted=config.gzip)
        former = filter_active_secrets(config.credentials.get(FORMER_SECRETS, ()), now)
        secrets = [config.credentials["secret"], *(each["secret"] for each in former)]
        signatures = (sign_message(secret, message_id, timestamp, plain) for secret in secrets)
        headers = {
            **{name.lower(): value for name, value in config.credentials.get("headers", {}).items()},
            **encoding,
            "content-type": config.chosen_format.media_type,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        return await self._http.post(config.target["url"], headers, body, now)

    async def close(self) -> None:
        """Do nothing: connections are shared."""
