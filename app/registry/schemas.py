"""The shapes of organisations, API keys and sites on the wire.

Those of boxes are in `app.registry.box_schemas`. Shapes only: what they mean is the service's business.
"""

from datetime import datetime
from typing import Annotated, Final, Literal, cast
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

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
from app.platform.identity.principals import ALL_SCOPES, SCOPES, ApiKey
from app.platform.kernel.rejection_codes import format_rejected_value
from app.platform.kernel.spdx_licences import LICENCE_PATTERN, normalise_licence_id
from app.registry.labels import Attributes
from app.registry.models import Organisation, Site

_TOULOUSE: Final[JsonDict] = {"type": "Point", "coordinates": [1.4442, 43.6047]}
RETENTION_DAYS_MAX: Final = 36_500
KEY_SITES_MAX: Final = 200


class OrganisationCreate(RequestBody):
    """A tenant to be."""

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
        description="`integrator`: it makes organisations of its own clients, and reaches what is theirs",
    )
    parent_id: Identifier | None = Field(
        None, description="The integrator whose client it is; by default the caller's own organisation"
    )


class OrganisationChange(RequestBody):
    """What may change of an organisation."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Toulouse Métropole"}]})

    name: Name = make_omittable_field()


class OrganisationOut(ResourceModel):
    """A tenant."""

    id: UUID
    name: str
    platform: bool = Field(description="True for the platform's own organisation")
    kind: Literal["platform", "integrator", "client"]
    parent_id: UUID | None = Field(description="The integrator or the platform whose it is; null: nobody's")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Organisation) -> "OrganisationOut":
        """The shape of a row."""
        return cls.model_validate(row, from_attributes=True)


def _check_scopes(scopes: list[str]) -> list[str]:
    for scope in scopes:
        if scope != ALL_SCOPES and scope not in SCOPES:
            raise CodedValueError(
                "unknown_scope",
                f"{format_rejected_value(scope)} is not a scope: {ALL_SCOPES}, {', '.join(SCOPES)}",
            )
    return sorted(set(scopes))


type Scope = Annotated[str, Field(json_schema_extra={"enum": [ALL_SCOPES, *SCOPES]})]
"""One of the scopes, or all of them."""

Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=len(SCOPES) + 1,
        description=f"`{ALL_SCOPES}` for all that its organisation may, or some of: {', '.join(SCOPES)}",
    ),
    AfterValidator(_check_scopes),
]


class KeyCreate(RequestBody):
    """An API key to be."""

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
        description="The key reaches these sites and nothing else; null: all of its organisation. With "
        "sites it has no scope on the organisation as a whole: `organisations:…`, `webhooks:…`, `audit:read`",
    )
    expires_at: Instant | None = Field(None, description="After this the key is refused; null: never")


class KeyChange(RequestBody):
    """What may change of a key. Its scopes may not: make another key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expires_at": "2030-01-01T00:00:00Z"}]})

    name: Name = make_omittable_field()
    expires_at: Instant | None = make_omittable_field()


class KeyOut(ResourceModel):
    """An API key, without the key."""

    volatile = frozenset({"last_used_at"})

    id: UUID
    organisation_id: UUID
    name: str
    hint: str = Field(description="How the key begins, to tell one's keys apart", examples=["vg_Ab3dEf"])
    scopes: list[str]
    site_ids: list[UUID] | None = Field(description="The only sites that it reaches; null: all")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKey) -> "KeyOut":
        """The shape of a row."""
        return cls.model_validate(row, from_attributes=True)


class KeyCreated(KeyOut):
    """A new API key. The key itself is shown here and never again."""

    once = frozenset({"key"})

    key: str = Field(examples=["vg_…"])


_RETENTION: Final = Field(
    ge=1,
    le=RETENTION_DAYS_MAX,
    description="Samples older than this are refused; null: nothing is too old",
)


_PRECISIONS: Final = (1, 10, 100, 1_000, 10_000)
Precision = Annotated[
    Literal[1, 10, 100, 1000, 10000],
    WithJsonSchema(
        {
            "type": "integer",
            "enum": [*_PRECISIONS],
            # Generated clients have names for numbers.
            "x-enum-varnames": [f"METRES_{metres}" for metres in _PRECISIONS],
            "description": "How precisely the public register shows where the site and its boxes are: as the "
            "cell of a grid of so many metres",
        }
    ),
]


_ADDRESS: Final = Field(
    description="Where it is, in words. The public register shows it as it is given, and finds the site by "
    "it: leave out what is more precise than `register_precision_m`. Null: none",
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
        description="The licence of the site's open data: an identifier of the SPDX licence list. Published. "
        "Null: the installation's (`VIGIE_PUBLIC_REGISTER__LICENCE`), or none is named",
        examples=["etalab-2.0"],
    ),
    AfterValidator(_check_licence),
]


class SiteCreate(RequestBody):
    """A site to be."""

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
    kind: Annotated[SiteKind, Field(description="A lower-case word of yours: street, office, airport, …")]
    timezone: Annotated[Timezone, Field(description="Says what a day is in this site's figures")]
    location: Point
    retention_days: Annotated[int, _RETENTION] | None = None
    register_precision_m: Precision = 100
    address: Annotated[Name, _ADDRESS] | None = None
    open_data_licence: Licence | None = None
    attributes: Attributes = Field(default_factory=dict)


class SiteChange(RequestBody):
    """What may change of a site."""

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
    """A place where boxes stand."""

    id: UUID
    organisation_id: UUID
    name: str
    kind: str
    timezone: str
    location: Point
    retention_days: int | None
    register_precision_m: Precision
    address: str | None = Field(description="Where it is, in words. Published")
    open_data_licence: str | None = Field(
        description="The licence of its open data, an SPDX identifier; null: the installation's"
    )
    attributes: Attributes
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Site) -> "SiteOut":
        """The shape of a row."""
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
