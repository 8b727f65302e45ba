"""The shapes of quotas and of what is used of them. Shapes only."""

from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.platform.config.quota_settings import QUOTA_MAX
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import RequestBody

_MOST: Final = Field(ge=0, le=QUOTA_MAX)
_Quota = Annotated[int, _MOST]


class QuotasSet(RequestBody):
    """What an organisation may have. What is left out, or null, is the installation's default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"boxes": 500, "webhooks": 20, "samples_per_day": 5_000_000}]}
    )

    sites: _Quota | None = Field(None, description="Sites")
    boxes: _Quota | None = Field(None, description="Boxes")
    api_keys: _Quota | None = Field(None, description="API keys that are not revoked")
    webhooks: _Quota | None = Field(None, description="Webhooks and channels together")
    clients: _Quota | None = Field(None, description="Organisations of an integrator's clients")
    samples_per_day: _Quota | None = Field(None, description="Samples stored in a day (UTC)")


class QuotasOut(ResourceModel):
    """What an organisation was given; null: what the installation gives to all."""

    sites: int | None
    boxes: int | None
    api_keys: int | None
    webhooks: int | None
    clients: int | None
    samples_per_day: int | None


class UseOut(BaseModel):
    """What of one quota is used."""

    limit: int | None = Field(description="How much there may be; null: any number")
    used: int = Field(description="How much there is; of samples, how many were stored in the day")
    remaining: int | None = Field(description="How much more there may be; null: any number")
    refused: int = Field(description="How much was refused in the day (UTC)")
    with_clients: bool = Field(description="Whether what an integrator's clients use counts too")


class UsageOut(BaseModel):
    """What an organisation may have, what it uses, and what it was refused today."""

    organisation_id: UUID
    day: date = Field(description="Today, in UTC: of `samples_per_day`, and of all that was refused")
    resets_at: datetime = Field(description="When the day ends")
    sites: UseOut
    boxes: UseOut
    api_keys: UseOut
    webhooks: UseOut
    clients: UseOut
    samples_per_day: UseOut
