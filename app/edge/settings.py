"""Defines the settings of an edge: its name, and where other machines reach its broker."""

import socket

from pydantic import BaseModel, Field

from app.platform.config.setting_sources import Port


class EdgeSettings(BaseModel):
    """The edge of one broker, `vigie edge`, in an installation with a message log."""

    name: str = Field(
        "",
        max_length=64,
        pattern="^[^,/]*$",
        description="Its name, unique among edges, without comma or slash; empty: the host name",
    )
    host: str = Field(
        "", description="Where other machines reach its broker; empty: the host of `VIGIE_BROKER__HOST`"
    )
    port: Port = Field(0, description="The port for other machines; 0: the port of `VIGIE_BROKER__PORT`")

    batch_delay_ms: float = Field(
        100.0,
        ge=0,
        description="A batch goes to the log this long after its first message (ms); less loads the log more",
    )

    def resolve_name(self) -> str:
        """Return the name of the edge."""
        return self.name or socket.gethostname()
