"""Defines the settings of the registry: silent boxes, enrolment without an API key, and default quotas."""

from typing import Final, Literal, get_args

from pydantic import BaseModel, Field

from app.platform.config.setting_sources import Seconds

type Quota = Literal["sites", "boxes", "api_keys", "webhooks", "clients", "samples_per_day"]
QUOTAS: Final[tuple[Quota, ...]] = get_args(Quota.__value__)
SAMPLES: Final[Quota] = "samples_per_day"
QUOTA_MAX: Final = 2**53
"""The largest quota: JSON integers are exact up to here."""

_DEFAULT: Final = "of an organisation without a quota of its own for them; unset: any number"


class QuotaSettings(BaseModel):
    """Default quotas of organisations, each of which an organisation can override."""

    sites: int | None = Field(None, ge=0, le=QUOTA_MAX, description=f"Sites {_DEFAULT}")
    boxes: int | None = Field(None, ge=0, le=QUOTA_MAX, description=f"Boxes {_DEFAULT}")
    api_keys: int | None = Field(500, ge=0, le=QUOTA_MAX, description=f"API keys in use {_DEFAULT}")
    webhooks: int | None = Field(
        200, ge=0, le=QUOTA_MAX, description=f"Webhooks and channels together {_DEFAULT}"
    )
    clients: int | None = Field(1000, ge=0, le=QUOTA_MAX, description=f"Clients of an integrator {_DEFAULT}")
    samples_per_day: int | None = Field(
        None, ge=0, le=QUOTA_MAX, description=f"Samples stored in a day (UTC) {_DEFAULT}"
    )

    def default(self, quota: Quota) -> int | None:
        """Return the default of one quota; None: no limit."""
        value: int | None = getattr(self, quota)
        return value


class SitesSettings(BaseModel):
    """Sites and their boxes."""

    silent_intervals: float = Field(
        3.0,
        gt=0,
        description="A box is silent after this many of its intervals without a message, and ten seconds",
    )


class EnrolmentSettings(BaseModel):
    """Registration of boxes without an API key."""

    enabled: bool = Field(False, description="Boxes may register themselves with a provisioning key")
    attempts: int = Field(
        20, ge=1, description="Claim codes that one address may try in a window, and attempts at one code"
    )
    attempts_window_s: Seconds = Field(600.0, description="That window (seconds)")
