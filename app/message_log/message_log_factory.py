"""Makes the log that the settings name. Only the client of that engine is imported."""

from importlib import import_module
from typing import Final, cast

from app.message_log.message_log import MessageLog
from app.message_log.settings import MessageLogSettings

_ENGINES: Final = {
    "jetstream": ("app.message_log.jetstream_log", "JetStreamLog"),
    "rabbitmq": ("app.message_log.rabbitmq_log", "RabbitMQLog"),
    "kafka": ("app.message_log.kafka_log", "KafkaLog"),
}


def make_message_log(settings: MessageLogSettings, *, client: str = "vigie") -> MessageLog:
    """Make the log of the settings, not yet open.

    Args:
        settings: The settings; `engine` must not be `none`.
        client: The name under which the servers list the connection, for instance of the edge or worker.

    Raises:
        ValueError: The settings name no engine.
    """
    if settings.engine not in _ENGINES:
        raise ValueError(f"VIGIE_MESSAGE_LOG__ENGINE is {settings.engine}: there is no log")
    module, name = _ENGINES[settings.engine]
    return cast("MessageLog", getattr(import_module(module), name)(settings, client=client))
