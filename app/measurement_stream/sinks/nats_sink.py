"""Publishes items to a stream of a client's NATS JetStream.

Each item is a message on `{subject}.{site}.{box}`, with its id in the header `id`. `Nats-Msg-Id` also names
the subscription and what determines the content: within its duplicate window a stream stores a repeated
message once, but the same item of two subscriptions, or after a change of one, twice. The client creates a
stream with these subjects.
"""

import asyncio
from typing import Any
from uuid import uuid5

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.guarded_addresses import ServerAddress, make_tls_context
from app.measurement_stream.sinks.sink_types import REFUSED, ConnectedSink, SinkConfig, SinkError


class _TlsClient(Client):
    """Upgrades to TLS before it sends its login, whatever the server announces.

    nats-py upgrades only if the INFO of the server, which is not encrypted, says `tls_required`. Whoever can
    change the INFO would get the login in clear text.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 (as in the base class)
        if initial_connection:
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


class NatsSink(ConnectedSink):
    """Publishes batches to JetStream.

    Args:
        config: `target`: `server`, `tls`, `ca_certificate`, `subject`, `username`; `credentials`: `password`
            or `token`.
        timeout_s: The longest that an attempt takes.
        allow_private: Whether private addresses are allowed.
    """

    errors = (nats.errors.Error, asyncio.InvalidStateError)

    def __init__(self, config: SinkConfig, timeout_s: float, *, allow_private: bool) -> None:
        super().__init__(config, timeout_s, allow_private=allow_private)
        self._connection: Client | None = None
        content = msgspec.json.encode((config.format, config.metrics, config.target["subject"])).decode()
        self._content_id = uuid5(config.subscription_id, content)

    async def deliver(self, batch: MeasurementBatch) -> None:
        """Publish each item, and wait until the stream has stored all."""
        chosen = self.config.chosen_format
        encode = chosen.encode_item
        if encode is None:
            raise SinkError("not_configured", "the format has no messages of one item")
        stream = (await self._connect()).jetstream(timeout=self.timeout_s)

        async def publish(item: Item) -> None:
            subject = f"{self.config.target['subject']}.{item.site_id}.{item.box}"
            headers = {
                "Nats-Msg-Id": f"{item.id}/{self._content_id}",
                "id": item.id,
                "Content-Type": chosen.item_media_type,
            }
            await stream.publish(subject, encode(item), headers=headers)

        await self.publish_each(batch, publish)

    async def _connect(self) -> Client:
        if self._connection is not None and self._connection.is_connected:
            return self._connection
        target, credentials = self.config.target, self.config.credentials
        server = ServerAddress.parse(target["server"])
        address = await self.resolve(server)
        host = f"[{address}]" if ":" in address else address
        login: dict[str, Any] = {}
        if "token" in credentials:
            login = {"token": credentials["token"]}
        elif target.get("username"):
            login = {"user": target["username"], "password": credentials.get("password", "")}
        if target["tls"]:
            login |= {
                "tls": make_tls_context(server, self.answers, target.get("ca_certificate")),
                "tls_hostname": server.host,
            }
        connection = _TlsClient() if target["tls"] else Client()
        # Before it connects, so that `close` also ends an attempt that failed.
        self._connection = connection
        await connection.connect(
            f"{'tls' if target['tls'] else 'nats'}://{host}:{server.port}",
            name="vigie",
            # A cluster may announce other addresses, to which a client reconnects unchecked.
            allow_reconnect=False,
            connect_timeout=max(1, int(self.timeout_s / 3)),
            error_cb=_ignore,
            **login,
        )
        return connection

    def describe(self, error: Exception) -> SinkError:
        """Tell a refusal of the server from a lost connection."""
        if isinstance(error, nats.errors.AuthorizationError):
            return SinkError("login_refused", str(error))
        if isinstance(error, nats.js.errors.NoStreamResponseError):
            return SinkError(REFUSED, "no stream has this subject: create one")
        if isinstance(error, nats.js.errors.APIError):
            return SinkError(REFUSED, f"{error.err_code}: {error.description}")
        return super().describe(error)

    async def disconnect(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _ignore(_: Exception) -> None:
    """Do nothing: the same error ends the attempt, which records it."""
