"""Publishes items to an exchange of a client's RabbitMQ, with publisher confirms.

Each item is a persistent message with the routing key `{site}.{box}` and its id as message id, by which a
consumer recognises a repeated one. Publishing is mandatory: a message that no queue takes is refused.
"""

from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
)
from yarl import URL

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.guarded_addresses import ServerAddress, make_tls_context
from app.measurement_stream.sinks.sink_types import REFUSED, ConnectedSink, SinkConfig, SinkError
from app.platform.kernel.instants import to_datetime

_HEARTBEAT_S: Final = 20


class RabbitmqSink(ConnectedSink):
    """Publishes batches to an exchange.

    Args:
        config: `target`: `server`, `tls`, `ca_certificate`, `virtual_host`, `exchange`, `username`;
            `credentials`: `password`.
        timeout_s: The longest that an attempt takes.
        allow_private: Whether private addresses are allowed.
    """

    errors = (AMQPError, ChannelInvalidStateError)

    def __init__(self, config: SinkConfig, timeout_s: float, *, allow_private: bool) -> None:
        super().__init__(config, timeout_s, allow_private=allow_private)
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    async def deliver(self, batch: MeasurementBatch) -> None:
        """Publish each item, and wait until the broker has confirmed all."""
        chosen = self.config.chosen_format
        encode = chosen.encode_item
        if encode is None:
            raise SinkError("not_configured", "the format has no messages of one item")
        exchange = await self._connect()

        async def publish(item: Item) -> None:
            message = aio_pika.Message(
                encode(item),
                content_type=chosen.item_media_type,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=item.id,
                timestamp=to_datetime(item.time_us),
                type=f"vigie.measurement.{item.kind}",
            )
            await exchange.publish(message, f"{item.site_id}.{item.box}", mandatory=True)

        await self.publish_each(batch, publish)

    async def _connect(self) -> AbstractExchange:
        if self._exchange is not None and self._connection is not None and not self._connection.is_closed:
            return self._exchange
        await self.close()
        target = self.config.target
        server = ServerAddress.parse(target["server"])
        context = (
            make_tls_context(server, self.answers, target.get("ca_certificate")) if target["tls"] else None
        )
        url = URL.build(
            scheme="amqp" if context is None else "amqps",
            host=await self.resolve(server),
            port=server.port,
            user=target["username"],
            password=self.config.credentials.get("password", ""),
            path="/" + target["virtual_host"].replace("/", "%2F"),
            query={"heartbeat": str(_HEARTBEAT_S), "name": "vigie"},
            encoded=False,
        )
        # Before it connects, so that `close` also ends an attempt that failed.
        self._connection = aio_pika.Connection(url, ssl_context=context)
        await self._connection.connect(timeout=self.timeout_s)
        # The broker confirms each message; a message that it returns is an error.
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        self._exchange = await channel.get_exchange(target["exchange"])
        return self._exchange

    def describe(self, error: Exception) -> SinkError:
        """Tell a refusal of the broker from a lost connection."""
        if isinstance(error, AuthenticationError | ProbableAuthenticationError):
            return SinkError("login_refused", "the broker refused the account")
        if isinstance(error, DeliveryError):
            return SinkError(REFUSED, "no queue is bound to the exchange for this routing key, or it is full")
        if isinstance(error, ChannelNotFoundEntity | ChannelPreconditionFailed):
            return SinkError(REFUSED, str(error))
        return super().describe(error)

    async def disconnect(self) -> None:
        """Close the connection."""
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None and not connection.is_closed:
            await connection.close()
