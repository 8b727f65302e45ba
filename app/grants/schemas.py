"""Defines the JSON schemas of grants, their keys, acceptances and uses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from app.catalogue.metrics import METRICS_BY_NAME
from app.grants.grant_changes import hash_terms
from app.grants.models import Grant, GrantAcceptance, GrantKey, GrantState, StoredGrantUse
from app.platform.http.contract.etags import ResourceModel, ResponseModel
from app.platform.http.contract.fields import (
    NAME_PATTERN,
    TEXT_PATTERN,
    Identifier,
    Instant,
    Name,
    RequestBody,
    TenantId,
    check_text,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.identity.grant_access import GrantUseKind
from app.platform.kernel.email_addresses import MAX_ADDRESS_LENGTH, normalise_email_address
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.organisation_and_site_schemas import Precision

SITES_MAX: Final = 200
TERMS_MAX: Final = 20_000
PURPOSE_MAX: Final = 2_000
_SITE: Final = "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d"
_EMAIL: Final = "data@air-lab.example"
_TOKEN: Final = "vgo_…"  # noqa: S105 (an example)
_KEY: Final = "vgg_…"


def _email(value: str) -> str:
    try:
        return normalise_email_address(value).lower()
    except InvalidError as error:
        raise CodedValueError(error.code, error.detail) from None


def _purpose(value: str) -> str:
    return check_text(value, limit=PURPOSE_MAX)


def _terms(value: str) -> str:
    if not value.strip():
        raise CodedValueError("invalid_text", "The terms are blank")
    return check_text(value, limit=TERMS_MAX, lines=True)


def _metrics(names: list[str]) -> list[str]:
    for name in names:
        if name not in METRICS_BY_NAME:
            raise CodedValueError(
                "unknown_metric",
                f"{format_rejected_value(name)} is not in the catalogue: see GET /v1/metrics",
            )
    chosen = set(names)
    return [name for name in METRICS_BY_NAME if name in chosen]


def _sites(ids: list[UUID]) -> list[UUID]:
    return sorted(set(ids))


Contact = Annotated[
    str,
    AfterValidator(_email),
    Field(
        max_length=MAX_ADDRESS_LENGTH,
        description="E-mail address of the recipient. Deleted some time after the grant ended",
        examples=[_EMAIL],
    ),
]
Country = Annotated[
    str,
    Field(pattern="^[A-Z]{2}$", description="Country of the recipient: ISO 3166-1 alpha-2", examples=["FR"]),
]
UsePurpose = Annotated[
    str,
    AfterValidator(_purpose),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": PURPOSE_MAX, "pattern": NAME_PATTERN}),
    Field(
        description="What the recipient uses the data for. The public register shows it",
        examples=["Calibration of low-cost sensors"],
    ),
]
GrantedSites = Annotated[
    list[Identifier],
    Field(min_length=1, max_length=SITES_MAX, description="The sites whose measurements can be read"),
    AfterValidator(_sites),
]
GrantedMetrics = Annotated[
    list[Annotated[str, Field(max_length=64, json_schema_extra={"enum": sorted(METRICS_BY_NAME)})]],
    Field(
        min_length=1,
        max_length=len(METRICS_BY_NAME),
        description="The metrics that can be read. Each site must have declared their purposes",
        examples=[["pm2_5", "no2"]],
    ),
    AfterValidator(_metrics),
]
_FROM: Final = (
    "The first measurement time that can be read; null: everything that is stored. For live data alone, give "
    "the present time"
)
_UNTIL: Final = "The end of the measurement times, exclusive; null: new data as they arrive"
_PRECISION: Final = (
    "Precision of the positions of sites and boxes: the cell size of a grid, in metres; null: exact positions"
)
_TERMS: Final = "The terms that the recipient accepts: their text, or their title, version and address"
_TEXT: Final = TEXT_PATTERN.removeprefix("^").removesuffix("*$")
_NOT_BLANK: Final = rf"^{_TEXT}*{_TEXT[:-1]}\s]{_TEXT}*$"
Terms = Annotated[
    str,
    AfterValidator(_terms),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": TERMS_MAX, "pattern": _NOT_BLANK}),
    Field(description=_TERMS),
]
_PUBLISHED: Final = "Whether the public register names the recipient. Purposes and numbers are always shown"
_VALID_UNTIL: Final = "When the grant ends"
_EXAMPLE: Final[dict[str, Any]] = {
    "recipient": "Air Lab",
    "recipient_country": "FR",
    "contact": _EMAIL,
    "purpose": "Calibration of low-cost sensors",
    "site_ids": [_SITE],
    "metrics": ["pm2_5", "no2"],
    "from": "2026-01-01T00:00:00Z",
    "precision_m": 100,
    "terms": "Terms of use, version 3: https://city.example/terms-3",
    "valid_until": "2028-01-01T00:00:00Z",
}


# Columns that have another name in the API.
_NAMES: Final[Mapping[str, str]] = {"covers_from": "from", "covers_until": "until"}


def name_field(column: str) -> str:
    """Return the name of a column of content in the API."""
    return _NAMES.get(column, column)


def _name_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name_field(column): value for column, value in values.items()}


def show_offered(grant: Grant) -> dict[str, Any] | None:
    """Return the wider values of a grant that wait for acceptance, by field; None: there are none."""
    return None if grant.offered is None else _name_fields(grant.offered)


class GrantCreate(RequestBody):
    """A new grant. The recipient has no access before a person there accepts it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    organisation_id: TenantId = None
    recipient: Annotated[Name, Field(description="Name of the third party", examples=["Air Lab"])]
    recipient_country: Country
    contact: Contact
    purpose: UsePurpose
    site_ids: GrantedSites
    metrics: GrantedMetrics
    covers_from: Annotated[Instant | None, Field(alias="from", description=_FROM)] = None
    covers_until: Annotated[Instant | None, Field(alias="until", description=_UNTIL)] = None
    precision_m: Annotated[Precision | None, Field(description=_PRECISION)] = 100
    terms: Terms
    valid_until: Annotated[Instant, Field(description=_VALID_UNTIL)]
    is_recipient_published: Annotated[bool, Field(description=_PUBLISHED)] = False


class GrantChange(RequestBody):
    """Changes of a grant. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"valid_until": "2029-01-01T00:00:00Z"}]})

    contact: Contact = make_omittable_field()
    purpose: UsePurpose = make_omittable_field()
    site_ids: GrantedSites = make_omittable_field()
    metrics: GrantedMetrics = make_omittable_field()
    covers_from: Annotated[Instant | None, Field(alias="from", description=_FROM)] = make_omittable_field()
    covers_until: Annotated[Instant | None, Field(alias="until", description=_UNTIL)] = make_omittable_field()
    precision_m: Annotated[Precision | None, Field(description=_PRECISION)] = make_omittable_field()
    terms: Terms = make_omittable_field()
    valid_until: Annotated[Instant, Field(description=_VALID_UNTIL)] = make_omittable_field()
    is_recipient_published: Annotated[bool, Field(description=_PUBLISHED)] = make_omittable_field()
    suspended: Annotated[bool, Field(description="True: its keys open nothing until it is false again")] = (
        make_omittable_field()
    )


class GrantContent(BaseModel):
    """What a grant includes."""

    purpose: str = Field(description="What the recipient uses the data for", examples=["Calibration"])
    site_ids: list[UUID]
    metrics: list[str] = Field(examples=[["pm2_5", "no2"]])
    covers_from: datetime | None = Field(serialization_alias="from", description=_FROM)
    covers_until: datetime | None = Field(serialization_alias="until", description=_UNTIL)
    precision_m: int | None = Field(description=_PRECISION, examples=[100])
    terms: str = Field(description=_TERMS, examples=["Terms of use, version 3"])
    terms_hash: str = Field(description="SHA-256 of the terms, hexadecimal")
    valid_until: datetime = Field(description=_VALID_UNTIL)


class GrantOut(ResourceModel, GrantContent):
    """A grant. Its link and its keys are not shown."""

    volatile = frozenset({"state", "link_expires_at"})

    id: UUID
    organisation_id: UUID
    state: GrantState = Field(
        description="`offered`: not accepted yet; `active`: its keys work; `suspended`, `expired` or "
        "`revoked`: they do not"
    )
    recipient: str = Field(description="Name of the third party", examples=["Air Lab"])
    recipient_country: str = Field(
        description="Country of the recipient: ISO 3166-1 alpha-2", examples=["FR"]
    )
    contact: str | None = Field(
        description="E-mail address of the recipient; null once it was deleted", examples=[_EMAIL]
    )
    is_recipient_published: bool = Field(description=_PUBLISHED)
    offered: dict[str, Any] | None = Field(
        description="Wider values that apply when the recipient accepts them, by field; null: none"
    )
    link_expires_at: datetime | None = Field(
        description="Until when its link works; null: there is no link that works"
    )
    accepted_at: datetime | None
    suspended_at: datetime | None = Field(description="Since when it is suspended; null: it is not")
    revoked_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Grant, now: datetime) -> "GrantOut":
        """Build the response from a row."""
        computed = {"state", "terms_hash"}
        stored = {name: getattr(row, name) for name in cls.model_fields if name not in computed}
        stored["terms_hash"] = hash_terms(row.terms)
        stored["offered"] = show_offered(row)
        stored["link_expires_at"] = None if row.link_hash is None else row.link_expires_at
        return cls(state=row.state(now), **stored)


class GrantLink(BaseModel):
    """The link of a grant. Its token is shown only here."""

    token: str = Field(
        description="The token, for `Authorization: Bearer …` of the calls below `/v1/grant-offer`",
        examples=[_TOKEN],
    )
    url: str = Field(
        description="The page to pass on. The token is in the fragment, which browsers do not send",
        examples=["https://vigie.example.com/grant#vgo_…"],
    )
    expires_at: datetime


class GrantWithLink(GrantOut):
    """A grant with a new link, by which the recipient accepts it. The link is shown only here."""

    once = frozenset({"link"})

    link: GrantLink | None = Field(description="Null: the change needs no acceptance")


class GrantKeyOut(ResponseModel):
    """A key of a grant, without the key."""

    id: UUID
    hint: str = Field(description="How the key begins", examples=["vgg_Ab3dEf"])
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: GrantKey) -> "GrantKeyOut":
        """Build the response from a row."""
        return cls.model_validate(row, from_attributes=True)


class GrantKeyCreated(GrantKeyOut):
    """A new key of a grant. The key itself is shown only here: store it."""

    key: str = Field(description="For `Authorization: Bearer …`", examples=[_KEY])


class GrantAcceptanceOut(ResponseModel):
    """An acceptance of a grant."""

    id: UUID
    accepted_at: datetime
    name: str | None = Field(
        description="Who accepted it; null once the name was deleted", examples=["Ada Lovelace"]
    )
    address: str | None = Field(description="IP address; null if unknown or deleted", examples=["192.0.2.7"])
    terms_hash: str = Field(description="SHA-256 of the accepted terms, hexadecimal")
    content: dict[str, Any] = Field(description="What was accepted, by field")
    content_hash: str = Field(description="`content_hash` of the accepted offer")

    @classmethod
    def of(cls, row: GrantAcceptance) -> "GrantAcceptanceOut":
        """Build the response from a row."""
        stored = {name: getattr(row, name) for name in cls.model_fields if name != "content"}
        return cls(content=_name_fields(row.content), **stored)


class GrantUseOut(BaseModel):
    """What a key read in an hour, of one kind."""

    hour: datetime = Field(description="Beginning of the hour, in UTC")
    key_id: UUID = Field(description="The key of the grant that was used")
    kind: GrantUseKind = Field(description="What was read")
    calls: int = Field(description="Number of calls", examples=[12])
    values: int = Field(
        description="Number of values: points of series, latest values, cells of exports (empty ones "
        "included), values of the stream, and entities of SensorThings",
        examples=[17_280],
    )
    site_ids: list[UUID] = Field(description="The sites of these values")
    metrics: list[str] = Field(description="The metrics of these values", examples=[["pm2_5"]])
    first_at: datetime = Field(description="Time of the first of these calls")
    last_at: datetime = Field(description="Time of the last of these calls")

    @classmethod
    def of(cls, row: StoredGrantUse) -> "GrantUseOut":
        """Build the response from a row."""
        stored = {name: getattr(row, name) for name in cls.model_fields if name != "values"}
        return cls(values=row.value_count, **stored)


def fill_content(values: Mapping[str, Any], terms_hash: str) -> GrantContent:
    """Build the content of a grant from its values by field."""
    return GrantContent.model_validate({**values, "terms_hash": terms_hash})
