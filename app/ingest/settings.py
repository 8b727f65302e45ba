"""Defines the settings of the ingest process: the MQTT source, batches, limits and acknowledgements."""

from typing import Literal

from pydantic import BaseModel, Field

from app.platform.config.setting_sources import Seconds


class IngestSettings(BaseModel):
    """The process that drains the broker into the database."""

    source: Literal["mqtt5", "aiomqtt"] = Field(
        "mqtt5", description="MQTT client: `aiomqtt` also speaks 3.1.1"
    )
    protocol: Literal["5", "3.1.1"] = Field("5", description="MQTT version of the aiomqtt source")
    client_id: str = Field(
        "vigie-ingest", description="The stable client identifier: names the broker's session"
    )
    session_expiry_s: int = Field(
        604_800, ge=0, description="How long the broker keeps the session (seconds)"
    )
    receive_maximum: int = Field(20_000, ge=1, le=65_535, description="Messages in flight unacknowledged")
    batch_messages: int = Field(10_000, ge=1, description="A batch closes at this many messages")
    batch_bytes: int = Field(8_388_608, ge=1024, description="A batch closes at this many bytes")
    batch_delay_ms: float = Field(
        20.0, ge=0, description="A batch closes this long after its first message (ms)"
    )
    buffer_bytes: int = Field(
        67_108_864, ge=65_536, description="Reading pauses above this many unacknowledged bytes"
    )
    max_future_s: float = Field(
        600.0, ge=0, description="Samples further in the future are refused (seconds)"
    )
    reconnect_min_s: Seconds = Field(0.2, description="First wait before reconnecting (seconds)")
    reconnect_max_s: Seconds = Field(
        10.0,
        description="Longest wait before reconnecting to the broker (seconds); to the database: 2 s at most",
    )
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep-alive (seconds)")
    ack_enabled: bool = Field(True, description="Publish committed `seq`s to boxes registered with `ack`")
