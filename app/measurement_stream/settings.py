"""Defines the settings of the measurement stream."""

from pydantic import BaseModel, Field


class MeasurementStreamSettings(BaseModel):
    """The measurement stream."""

    keep_days: int = Field(
        7, ge=1, le=90, description="Retention of the commit log, from which subscribers can resume (days)"
    )
