"""What the bodies of all events have. Shapes only."""

from datetime import datetime

from pydantic import BaseModel, Field


class EventEnvelope(BaseModel):
    """What every body has."""

    timestamp: datetime = Field(description="When Vigie wrote the event")
