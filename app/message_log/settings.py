"""Defines the settings of the replicated log."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from app.platform.config.setting_sources import Seconds


class MessageLogSettings(BaseModel):
    """The replicated log between several brokers and several ingest workers."""

    engine: Literal["none", "jetstream", "rabbitmq", "kafka"] = Field(
        "none",
        description="The log between `vigie edge` and `vigie ingest`; `none`: ingest reads the broker itself",
    )
    servers: list[str] = Field([], description="Its nodes, as `host:port`")
    username: str = Field("", description="Its account")
    password: SecretStr = Field(SecretStr(""), description="Its password")
    tls: bool = Field(False, description="Connect by TLS")
    ca_file: str = Field("", description="CA certificates of its nodes (PEM); empty: the system's")
    name: str = Field(
        "vigie", description="The prefix of its streams or topics; fixed until `vigie close-log`"
    )
    partitions: int = Field(
        12, ge=1, le=256, description="Number of partitions; fixed until `vigie close-log`"
    )
    replicas: int = Field(3, ge=1, le=5, description="Replicas of each partition")
    max_bytes: int = Field(
        2_147_483_648,
        ge=1_048_576,
        description="Most bytes of one partition on a node; then edges wait",
    )
    keep_s: Seconds = Field(
        3600.0, description="How long committed records are kept, for a database restored to an earlier time"
    )
    timeout_s: Seconds = Field(5.0, description="How long an append may take before it is repeated (seconds)")
