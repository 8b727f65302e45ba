"""Defines the settings of the quarantine: how long it retains messages."""

from pydantic import BaseModel, Field


class QuarantineSettings(BaseModel):
    """Refused messages."""

    keep_days: int = Field(30, ge=0, description="Retention of refused messages (days); 0: forever")
