"""Produces items to a topic of a client's Kafka.

The key of a record is the box, so that the items of a box stay in order. The header `id` is the item's id, by
which a consumer recognises a repeated record. The producer is idempotent: its own repeats are stored once.

It is tested on librdkafka's mock of a cluster, which says nothing of accounts, TLS, elections or durability
of real brokers.

librdkafka resolves names itself, and connects to any broker that a cluster names; its Python client cannot
set a callback for connections. Addresses are checked before the first record is produced, which does not hold
off a cluster that lies. So an operator has to allow these sinks (`WebhookSettings.allow_kafka`).
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.guarded_addresses import ServerAddress, resolve_allowed_addresses
from app.measurement_stream.sinks.sink_types import REFUSED, ConnectedSink, SinkConfig, SinkError

_POLL_S: Final = 0.05
_FLUSH_S: Final = 0.5
_LOGIN_ERRORS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})  # noqa: SLF001 (its name)
_REFUSALS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 (its name)
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
    }
)
_TIMEOUTS: Final = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT})  # noqa: SLF001 (its name)


class KafkaSink(ConnectedSink):
    """Produces batches to a topic.

    Args:
        config: `target`: `servers`, `tls`, `ca_certificate`, `topic`, `username`, `mechanism`; `credentials`:
            `password`.
        timeout_s: The longest that an attempt takes.
        allow_private: Whether private addresses are allowed.
    """

    errors = (KafkaException, BufferError)

    def __init__(self, config: SinkConfig, timeout_s: float, *, allow_private: bool) -> None:
        super().__init__(config, timeout_s, allow_private=allow_private)
        self._producer: Producer | None = None
        # librdkafka blocks while it connects and flushes.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="kafka-sink")

    async def deliver(self, batch: MeasurementBatch) -> None:
        """Produce each item, and wait until the brokers have acknowledged all."""
        chosen = self.config.chosen_format
        if chosen.encode_item is None:
            raise SinkError("not_configured", "the format has no messages of one item")
        producer = await self._connect()
        failures: list[KafkaError] = []
        left = len(batch.items)

        def report(error: KafkaError | None, _: Message) -> None:
            nonlocal left
            left -= 1
            if error is not None:
                failures.append(error)

        for item in batch.items:
            producer.produce(
                self.config.target["topic"],
                chosen.encode_item(item),
                key=item.box.encode(),
                timestamp=item.time_us // 1000,
                headers={"id": item.id.encode(), "content-type": chosen.item_media_type.encode()},
                on_delivery=report,
            )
        loop = asyncio.get_running_loop()
        while left:
            await loop.run_in_executor(self._threads, producer.poll, _POLL_S)
        if failures:
            raise _describe(failures[0])

    async def _connect(self) -> Producer:
        if self._producer is not None:
            return self._producer
        servers = [ServerAddress.parse(text) for text in self.config.target["servers"]]
        await self._check(servers)
        producer = Producer(self._settings())
        loop = asyncio.get_running_loop()
        topic = self.config.target["topic"]
        listed = await loop.run_in_executor(
            self._threads, lambda: producer.list_topics(topic, timeout=self.timeout_s / 2)
        )
        await self._check([ServerAddress(broker.host, broker.port) for broker in listed.brokers.values()])
        self._producer = producer
        return producer

    async def _check(self, servers: list[ServerAddress]) -> None:
        for server in servers:
            await resolve_allowed_addresses(server, allow_private=self.allow_private)

    def _settings(self) -> dict[str, Any]:
        target = self.config.target
        settings: dict[str, Any] = {
            "bootstrap.servers": ",".join(target["servers"]),
            "client.id": "vigie",
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "message.timeout.ms": int(self.timeout_s * 1000),
            "socket.timeout.ms": int(self.timeout_s * 1000),
            "log_level": 0,
        }
        if target["tls"] and target.get("ca_certificate"):
            settings["ssl.ca.pem"] = target["ca_certificate"]
        login = bool(target.get("username"))
        settings["security.protocol"] = ("SASL_" if login else "") + ("SSL" if target["tls"] else "PLAINTEXT")
        if login:
            settings |= {
                "sasl.mechanism": target["mechanism"],
                "sasl.username": target["username"],
                "sasl.password": self.config.credentials.get("password", ""),
            }
        return settings

    def describe(self, error: Exception) -> SinkError:
        """Tell a refusal of the brokers from a lost connection."""
        if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
            return _describe(error.args[0])
        return super().describe(error)

    async def disconnect(self) -> None:
        """Drop the producer, with the records that were not acknowledged: they are sent again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, _discard, producer)


def _discard(producer: Producer) -> None:
    producer.purge()
    producer.flush(_FLUSH_S)


def _describe(error: KafkaError) -> SinkError:
    code = error.code()
    if code in _LOGIN_ERRORS:
        return SinkError("login_refused", error.str())
    if code in _REFUSALS:
        return SinkError(REFUSED, error.str())
    return SinkError("timeout" if code in _TIMEOUTS else "connect_failed", error.str())
