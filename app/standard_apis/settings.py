"""Defines the settings of the APIs of other standards."""

from pydantic import BaseModel, Field


class StandardApiSettings(BaseModel):
    """SensorThings, OGC API and NGSI-LD."""

    anonymous: bool = Field(
        False,
        description="Whether SensorThings, OGC API and NGSI-LD answer without a key. Anyone can read the "
        "values of each box then, not only means of the site, for purposes with `open_data`",
    )
