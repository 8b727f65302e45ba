"""Defines the JSON schemas of organisations, API keys and sites; those of boxes are in `box_schemas`."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from app.platform.db.tenant_reader import FlatRow
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    Identifier,
    Instant,
    Name,
    Point,
    RequestBody,
    SiteKind,
    TenantId,
    Timezone,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.identity.api_keys import ApiKey
from app.platform.identity.caller_authentication import ALL_SCOPES, SCOPES
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.labels import Attributes
from app.registry.models import Organisation, Site
from app.registry.spdx_licences import LICENCE_PATTERN, normalise_licence_id

_TOULOUSE: Final[JsonDict] = {"type": "Point", "coordinates": [1.4442, 43.6047]}
RETENTION_DAYS_MAX: Final = 36_500
KEY_SITES_MAX: Final = 200


class OrganisationCreate(RequestBody):
    """A new organisation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Ville de Toulouse"},
                {"name": "Capteurs du Midi", "kind": "integrator"},
            ]
        }
    )

    name: Name
    kind: Literal["integrator", "client"] = Field(
        "client",
        description="`integrator`: it can create organisations of clients, and access their resources",
    )
    parent_id: Identifier | None = Field(
        None, description="The integrator of a client; by default the caller's organisation"
    )


class OrganisationChange(RequestBody):
    """Changes of an organisation. Fields that are left out stay."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Toulouse Métropole"}, {"second_factor_required": True}]}
    )

    name: Name = make_omittable_field()
    second_factor_required: Annotated[
        bool,
        Field(
            description="Whether people can work for it only with a second factor. It applies to their "
            "present sign-ins too, from the next request on"
        ),
    ] = make_omittable_field()


class OrganisationOut(ResourceModel):
    """An organisation."""

    id: UUID
    name: str
    platform: bool = Field(description="True for the platform's own organisation")
    kind: Literal["platform", "integrator", "client"]
    parent_id: UUID | None = Field(description="The integrator or the platform above it; null: none")
    second_factor_required: bool = Field(
        description="Whether people can work for it only with a second factor, or through the OpenID Connect "
        "provider",
        examples=[False],
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Organisation) -> "OrganisationOut":
        """Build the response from a row."""
        return cls.model_validate(row, from_attributes=True)


def _check_scopes(scopes: list[str]) -> list[str]:
    for scope in scopes:
        if scope != ALL_SCOPES and scope not in SCOPES:
            raise CodedValueError(
                "unknown_scope",
                f"{format_rejected_value(scope)} is not a scope. Scopes are: {ALL_SCOPES}, "
                f"{', '.join(SCOPES)}",
            )
    return sorted(set(scopes))


type Scope = Annotated[str, Field(json_schema_extra={"enum": [ALL_SCOPES, *SCOPES]})]
"""One of the scopes, or all of them."""

Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=len(SCOPES) + 1,
        description=f"`{ALL_SCOPES}` for all scopes of its organisation, or some of: {', '.join(SCOPES)}",
    ),
    AfterValidator(_check_scopes),
]


class KeyCreate(RequestBody):
    """A new API key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "dashboard", "scopes": ["sites:read", "telemetry:read", "alerts:read"]},
                {"name": "everything of our organisation", "scopes": ["*"]},
            ]
        }
    )

    organisation_id: TenantId = None
    name: Name
    scopes: Scopes
    site_ids: list[Identifier] | None = Field(
        None,
        min_length=1,
        max_length=KEY_SITES_MAX,
        description="The only sites that the key can access; null: all of its organisation. A key with sites "
        "cannot use scopes of the whole organisation: `organisations:…`, `webhooks:…`, `audit:read`",
    )
    expires_at: Instant | None = Field(None, description="When the key expires; null: never")


class KeyChange(RequestBody):
    """Changes of an API key. Scopes cannot change: create another key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expires_at": "2030-01-01T00:00:00Z"}]})

    name: Name = make_omittable_field()
    expires_at: Instant | None = make_omittable_field()


class KeyOut(ResourceModel):
    """An API key, without the key."""

    volatile = frozenset({"last_used_at"})

    id: UUID
    organisation_id: UUID
    name: str
    hint: str = Field(description="How the key begins, to recognise it", examples=["vg_Ab3dEf"])
    scopes: list[str]
    site_ids: list[UUID] | None = Field(description="The only sites that the key can access; null: all")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Time of the last use, to the minute")
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKey) -> "KeyOut":
        """Build the response from a row."""
        return cls.model_validate(row, from_attributes=True)


class KeyCreated(KeyOut):
    """A new API key. The key itself is shown only here: store it."""

    once = frozenset({"key"})

    key: str = Field(examples=["vg_…"])


_RETENTION: Final = Field(
    ge=1,
    le=RETENTION_DAYS_MAX,
    description="New samples that are older than this (days) are refused; null: no limit",
)


_PRECISIONS: Final = (1, 10, 100, 1_000, 10_000)
Precision = Annotated[
    Literal[1, 10, 100, 1000, 10000],
    WithJsonSchema(
        {
            "type": "integer",
            "enum": [*_PRECISIONS],
            # Generated clients name the members of the enum by these.
            "x-enum-varnames": [f"METRES_{metres}" for metres in _PRECISIONS],
            "description": "Precision of the positions of the site and its boxes in the public register: the "
            "cell size of a grid, in metres",
        }
    ),
]


_ADDRESS: Final = Field(
    description="The address in words. The public register shows it unchanged and searches it: leave out "
    "details that are more precise than `register_precision_m`. Null: none",
    examples=["Rue d'Alsace-Lorraine, 31000 Toulouse"],
)


def _check_licence(name: str) -> str:
    try:
        return normalise_licence_id(name)
    except ValueError as error:
        raise CodedValueError("unknown_licence", f"{format_rejected_value(name)} {error}") from None


Licence = Annotated[
    str,
    Field(
        pattern=LICENCE_PATTERN,
        description="The licence of the site's open data: an SPDX licence identifier. Published. "
        "Null: the installation's (`VIGIE_PUBLIC_REGISTER__LICENCE`), or none",
        examples=["etalab-2.0"],
    ),
    AfterValidator(_check_licence),
]


class SiteCreate(RequestBody):
    """A new site."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Rue d'Alsace-Lorraine",
                    "kind": "street",
                    "timezone": "Europe/Paris",
                    "location": _TOULOUSE,
                    "retention_days": 730,
                    "attributes": {"night_limit": 55},
                }
            ]
        }
    )

    organisation_id: TenantId = None
    name: Name
    kind: Annotated[
        SiteKind, Field(description="A lower-case word of your choice: street, office, airport, …")
    ]
    timezone: Annotated[Timezone, Field(description="The time zone that defines a day at this site")]
    location: Point
    retention_days: Annotated[int, _RETENTION] | None = None
    register_precision_m: Precision = 100
    address: Annotated[Name, _ADDRESS] | None = None
    open_data_licence: Licence | None = None
    attributes: Attributes = Field(default_factory=dict)


class SiteChange(RequestBody):
    """Changes of a site. Fields that are left out stay."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Rue d'Alsace", "retention_days": None}]}
    )

    name: Name = make_omittable_field()
    kind: SiteKind = make_omittable_field()
    timezone: Timezone = make_omittable_field()
    location: Point = make_omittable_field()
    retention_days: Annotated[int, _RETENTION] | None = make_omittable_field()
    register_precision_m: Precision = make_omittable_field()
    address: Annotated[Name, _ADDRESS] | None = make_omittable_field()
    open_data_licence: Licence | None = make_omittable_field()
    attributes: Attributes = make_omittable_field()


class SiteOut(ResourceModel):
    """A location of boxes: a street, an office, an airport."""

    id: UUID
    organisation_id: UUID
    name: str
    kind: str
    timezone: str
    location: Point
    retention_days: int | None
    register_precision_m: Precision
    address: str | None = Field(description="The address in words. Published")
    open_data_licence: str | None = Field(
        description="The licence of its open data, an SPDX licence identifier; null: the installation's"
    )
    attributes: Attributes
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Site) -> "SiteOut":
        """Build the response from a row."""
        return cls(
            id=row.id,
            organisation_id=row.organisation_id,
            name=row.name,
            kind=row.kind,
            timezone=row.timezone,
            location=Point(type="Point", coordinates=[row.longitude, row.latitude]),
            retention_days=row.retention_days,
            register_precision_m=cast("Precision", row.register_precision_m),
            address=row.address,
            open_data_licence=row.open_data_licence,
            attributes=row.attributes,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def format_site_row(row: FlatRow) -> dict[str, Any]:
    """Return the JSON of a site in a list: what `SiteOut.of` shows."""
    return {
        "id": row["id"],
        "organisation_id": row["organisation_id"],
        "name": row["name"],
        "kind": row["kind"],
        "timezone": row["timezone"],
        "location": {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]},
        "retention_days": row["retention_days"],
        "register_precision_m": row["register_precision_m"],
        "address": row["address"],
        "open_data_licence": row["open_data_licence"],
        "attributes": row["attributes"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
