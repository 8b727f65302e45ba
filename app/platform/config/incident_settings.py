"""Settings of acoustic incidents: what is assumed where nothing was measured, and when something is told."""

from pydantic import BaseModel, Field

from app.platform.config.setting_sources import Seconds


class IncidentSettings(BaseModel):
    """What the maintain role makes of events that several boxes heard."""

    opening_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="An incident is opened where a gunshot or an explosion is as probable as this; where a "
        "box reports one as the event's type, always",
    )
    gather_s: float = Field(
        0.7,
        ge=0,
        le=30,
        description="A site's sounds are put together once none has come for so long, or in three times as "
        "long at most: rounds in quick succession are told of once (seconds)",
    )
    wind_sigma_m_s: float = Field(
        2.0,
        ge=0,
        le=20,
        description="Standard deviation of each component of the wind that nobody measures, outdoors (m/s)",
    )
    temperature_c: float = Field(
        15.0,
        ge=-40,
        le=55,
        description="Of the air, where no box of the site measured it within the hour (°C)",
    )
    temperature_sigma_c: float = Field(8.0, gt=0, le=30, description="Standard error of that (°C)")
    settle_s: Seconds = Field(
        30.0,
        description="So long after the last sound that could belong to it an incident is settled (seconds)",
    )
    moved_m: float = Field(
        10.0, ge=0, description="A position that moves by more is told as `incident.updated` (metres)"
    )
    update_every_s: Seconds = Field(
        2.0, description="An incident's updates are told no more often than this (seconds)"
    )
