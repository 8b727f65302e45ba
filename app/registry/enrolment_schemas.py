"""Defines the JSON schemas of claim codes, provisioning keys, and boxes registered with them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    BoxId,
    Identifier,
    Instant,
    Name,
    Point,
    RequestBody,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError
from app.registry.box_schemas import BoxCreate, Interval
from app.registry.models import Claim, ProvisioningKey

CLAIM_BOXES_MAX: Final = 1000
CLAIM_LONGEST: Final = timedelta(days=90)
"""The longest lifetime of a claim."""

_SHORTEST_S: Final = 60.0
_LONGEST_S: Final = CLAIM_LONGEST.total_seconds()
_SITE: Final = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
_BOX: Final[dict[str, Any]] = {
    "id": "box-0001",
    "name": "Corner of rue de Metz",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6009]},
}
type ClaimState = Literal["open", "used_up", "expired", "revoked"]


def _lifetime(value: str) -> str:
    try:
        seconds = parse_iso_duration(value)
    except RejectedError as error:
        raise CodedValueError(error.code, error.detail) from None
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise CodedValueError("invalid_duration", "The duration of a claim is one minute to 90 days")
    return value


class ClaimCreate(RequestBody):
    """A new claim: a code with which an installer registers boxes at a site."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"site_id": _SITE, "name": "Round of Monday", "boxes": 12, "expires_in": "P3D"}]
        }
    )

    site_id: Identifier
    name: Name | None = None
    boxes: int = Field(1, ge=1, le=CLAIM_BOXES_MAX, description="Number of boxes that the code can register")
    expires_in: Annotated[
        str,
        AfterValidator(_lifetime),
        Field(description="ISO 8601 duration, a minute to 90 days", examples=["P7D", "PT8H"]),
    ] = "P7D"


class ClaimChange(RequestBody):
    """Changes of a claim. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expires_at": "2030-12-01T00:00:00Z"}]})

    name: Name | None = make_omittable_field()
    expires_at: Instant = make_omittable_field()


class ClaimOut(ResourceModel):
    """A claim, without its code."""

    volatile = frozenset({"state", "used", "last_used_at"})

    id: UUID
    organisation_id: UUID
    site_id: UUID
    name: str | None
    hint: str = Field(description="How the code begins", examples=["7Q"])
    state: ClaimState
    boxes: int = Field(description="Number of boxes that the code can register")
    used: int = Field(description="Number of boxes that it has registered")
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: Claim, now: datetime) -> Self:
        """Build the response from a row."""
        names = ("id", "organisation_id", "site_id", "name", "hint", "boxes", "used")
        times = ("created_at", "expires_at", "last_used_at", "revoked_at")
        values = {name: getattr(row, name) for name in (*names, *times)}
        return cls(**values, state=compute_claim_state(row, now))


class ClaimCreated(ClaimOut):
    """A new claim. The code is shown only here: store it."""

    once = frozenset({"code"})

    code: str = Field(examples=["7Q4F-K9MX-2HTC"], description="The code on the box's slip: shown only once")


def compute_claim_state(row: Claim, now: datetime) -> ClaimState:
    """Compute whether a claim can be redeemed, or why not."""
    if row.revoked_at is not None:
        return "revoked"
    if row.used >= row.boxes:
        return "used_up"
    return "expired" if row.expires_at <= now else "open"


class NewBox(RequestBody):
    """A box that registers itself, or that an installer registers on site."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BOX]})

    id: Annotated[BoxId, Field(description="The name in topics and the MQTT username")]
    name: Name | None = None
    location: Point | None = Field(None, description="The position of the box; null: that of its site")
    interval_s: Interval = 60
    ack: bool = Field(False, description="Publish acks of committed samples to the box")

    def at(self, site_id: UUID) -> BoxCreate:
        """Convert to a new box at a site."""
        return BoxCreate(
            id=self.id,
            site_id=site_id,
            name=self.name,
            location=self.location,
            interval_s=self.interval_s,
            ack=self.ack,
        )


class Redemption(NewBox):
    """A box that is registered with a claim code."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "7Q4F-K9MX-2HTC", **_BOX}]})

    code: str = Field(
        max_length=64, description="The claim code, in upper or lower case; hyphens are optional"
    )


class ProvisioningKeyCreate(RequestBody):
    """A new provisioning key: every box that has it can register itself at a site."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"site_id": _SITE, "name": "Lot 2026-11", "id_prefix": "lot26-", "limit": 500}]
        }
    )

    site_id: Identifier
    name: Name
    id_prefix: BoxId | None = Field(None, description="Required beginning of the ids of its boxes")
    expires_at: Instant | None = Field(None, description="When the key expires; null: never")
    limit: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Largest number of boxes; null: no limit")
    ] = None


class ProvisioningKeyChange(RequestBody):
    """Changes of a provisioning key. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 800}]})

    name: Name = make_omittable_field()
    expires_at: Instant | None = make_omittable_field()
    limit: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="Maximum boxes registered with it; null: any number"),
    ] = make_omittable_field()


class ProvisioningKeyOut(ResourceModel):
    """A provisioning key, without the key."""

    volatile = frozenset({"used", "last_used_at"})

    id: UUID
    organisation_id: UUID
    site_id: UUID
    name: str
    hint: str = Field(description="How the key begins", examples=["vgp_Ab3dEf"])
    id_prefix: str | None
    limit: int | None = Field(description="Maximum boxes registered with it; null: any number")
    used: int = Field(description="Number of boxes that it has registered")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ProvisioningKey, **more: str) -> Self:
        """Build the response from a row."""
        names = ("id", "organisation_id", "site_id", "name", "hint", "id_prefix", "used")
        times = ("created_at", "expires_at", "last_used_at", "revoked_at")
        return cls(**{name: getattr(row, name) for name in (*names, *times)}, limit=row.box_limit, **more)


class ProvisioningKeyCreated(ProvisioningKeyOut):
    """A new provisioning key. The key itself is shown only here: store it."""

    once = frozenset({"key"})

    key: str = Field(examples=["vgp_…"])
