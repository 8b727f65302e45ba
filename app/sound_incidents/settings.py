"""Defines the settings of acoustic incidents: assumptions about the air, and when to notify."""

from pydantic import BaseModel, Field

from app.platform.config.setting_sources import Seconds


class IncidentSettings(BaseModel):
    """Incidents, which the maintain process makes from sound events of several boxes."""

    opening_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least probability of a gunshot or an explosion that opens an incident. A box that "
        "reports one as the event's type always opens one",
    )
    gather_s: float = Field(
        0.7,
        ge=0,
        le=30,
        description="A site's sounds are grouped after this time without a new one, or after three times as "
        "long at most: rounds in quick succession make one notification (seconds)",
    )
    wind_sigma_m_s: float = Field(
        2.0,
        ge=0,
        le=20,
        description="Standard deviation of each component of unmeasured wind, outdoors (m/s)",
    )
    temperature_c: float = Field(
        15.0,
        ge=-40,
        le=55,
        description="Air temperature where no box of the site measured it within the hour (°C)",
    )
    temperature_sigma_c: float = Field(8.0, gt=0, le=30, description="Standard error of that (°C)")
    settle_s: Seconds = Field(
        30.0,
        description="An incident is settled this long after the last sound that could belong to it (seconds)",
    )
    moved_m: float = Field(
        10.0, ge=0, description="A position that moves by more sends `incident.updated` (metres)"
    )
    update_every_s: Seconds = Field(
        2.0, description="Least time between two updates of an incident (seconds)"
    )
