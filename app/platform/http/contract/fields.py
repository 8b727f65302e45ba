"""Defines field types of request bodies, paths and queries, with a stable code for each rejection.

They check the form of names, texts, box ids, locations, time zones, identifiers and instants. Whether a
resource exists is up to its room.

pydantic gets bodies as Python objects, not as JSON text. Models are strict, so that a boolean or a text never
counts as a number; the types here accept their one JSON form (a text) nevertheless.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Final, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticKnownError

from app.platform.http.contract.problems import FAULTS_LIMIT, CodedValueError
from app.platform.kernel.instants import (
    EARLIEST_US,
    LATEST_US,
    US_PER_MS,
    check_range,
    parse_epoch_ms,
    parse_rfc3339,
    to_datetime,
)
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

NAME_LIMIT: Final = 200
TEXT_LIMIT: Final = 2000
BOX_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
KIND_PATTERN: Final = r"^[a-z][a-z0-9_-]{0,31}$"
_BOX_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ZONE_LIMIT: Final = 64
_EPOCH_MS: Final = re.compile(r"-?[0-9]{1,17}")
# Bidirectional controls, the byte-order mark, and the separators that are line ends.
_FORBIDDEN: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u2028\u2029")
_LINE_ENDS: Final = frozenset("\n\r\t")
# The same for the OpenAPI document, as far as patterns can express it. They cannot express Unicode's normal
# form.
_FORBIDDEN_CLASS: Final = r"\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\u2028\u2029"
NAME_PATTERN: Final = (
    rf"^[^\x00-\x1f{_FORBIDDEN_CLASS}]*[^\x00-\x20\s{_FORBIDDEN_CLASS}][^\x00-\x1f{_FORBIDDEN_CLASS}]*$"
)
TEXT_PATTERN: Final = rf"^[^\x00-\x08\x0b\x0c\x0e-\x1f{_FORBIDDEN_CLASS}]*$"
_DURATION_END: Final = r"[0-9]{1,9}(\.[0-9]{1,6})?S"
_DURATION_REST: Final = (
    rf"T([0-9]{{1,9}}H([0-9]{{1,9}}M)?({_DURATION_END})?|[0-9]{{1,9}}M({_DURATION_END})?|{_DURATION_END})"
)
_EARTH: Final = ((-180.0, 180.0, "longitude"), (-90.0, 90.0, "latitude"))


class RequestBody(BaseModel):
    """Base of request bodies and their parts: rejects unknown fields and silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _limit_unknown(cls, value: object) -> object:
        """Drop unknown fields beyond the reported ones: half a million of them would each be a fault."""
        if not isinstance(value, dict) or len(value) <= FAULTS_LIMIT:
            return value
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = [name for name in value if name not in known]
        considered = known.union(unknown[:FAULTS_LIMIT])
        return {name: value[name] for name in value if name in considered}


def limit_field_count(limit: int, what: str, code: str = "invalid_value") -> BeforeValidator:
    """Reject an object with too many fields before validating any: pydantic counts them afterwards."""

    def check(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
        if isinstance(value, dict) and len(value) > limit:
            raise CodedValueError(code, f"At most {limit} {what} are allowed")
        return value

    return BeforeValidator(check)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def make_omittable_field() -> Any:  # noqa: ANN401 (a placeholder for a value of the field's type)
    """The default of a PATCH field that may be absent but not null (`collect_sent_fields`)."""
    return Field(default=None, json_schema_extra=_without_default)


def collect_sent_fields(body: RequestBody) -> dict[str, Any]:
    """Return the fields of a PATCH that the client sent, as Python values."""
    return {name: getattr(body, name) for name in body.model_fields_set}


def check_text(value: str, *, limit: int, lines: bool = False) -> str:
    """Check a text for people.

    Args:
        value: The text.
        limit: Maximum characters.
        lines: Whether the text may contain line ends and tabs, and may be empty.

    Raises:
        CodedValueError: `text_too_long`, `nul_in_text`, `invalid_text` or `name_not_normalised`.
    """
    if len(value) > limit:
        raise CodedValueError("text_too_long", f"At most {limit} characters are allowed")
    if "\0" in value:
        raise CodedValueError("nul_in_text", "A NUL character cannot be stored")
    allowed = _LINE_ENDS if lines else frozenset()
    for character in value:
        if character in _FORBIDDEN or (
            unicodedata.category(character) in {"Cc", "Cs"} and character not in allowed
        ):
            raise CodedValueError(
                "invalid_text", f"The character {format_rejected_value(character)} is not allowed in a text"
            )
    if not unicodedata.is_normalized("NFC", value):
        raise CodedValueError(
            "name_not_normalised",
            "Send the text in Unicode's normal form C: two spellings would look the same",
        )
    if not lines and not value.strip():
        raise CodedValueError("invalid_text", "The text is blank")
    return value


def check_box_id(value: str) -> str:
    """Check a box's id, which is part of topics and an MQTT user name (CodedValueError `invalid_box_id`)."""
    if _BOX_ID.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_box_id",
            f"{format_rejected_value(value)}: a box's id has 1 to 64 of the characters A-Z a-z 0-9 _ -",
        )
    return value


def check_site_kind_format(value: str) -> str:
    """Check a site's kind (CodedValueError `invalid_kind`)."""
    if _KIND.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_kind", f"{format_rejected_value(value)}: a lower-case word of at most 32, such as street"
        )
    return value


@cache
def list_timezones() -> frozenset[str]:
    """Return the names of all time zones on this machine."""
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def check_timezone(value: str) -> str:
    """Check that a time zone is one of the IANA database (CodedValueError `unknown_timezone`)."""
    if len(value) > _ZONE_LIMIT or value not in list_timezones():
        raise CodedValueError(
            "unknown_timezone",
            f"{format_rejected_value(value)} is not an IANA time zone such as Europe/Paris",
        )
    return value


def _coordinates(value: list[float]) -> list[float]:
    for number, (least, most, what) in zip(value, _EARTH, strict=True):
        if not least <= number <= most:
            raise CodedValueError(
                "location_out_of_range",
                f"{what} {format_rejected_value(number)} is not within {least:g} and {most:g}; longitude "
                f"comes first",
            )
    return [float(number) for number in value]


def _coded(parse: Callable[[Any], datetime]) -> Callable[[Any], datetime]:
    def validate(value: Any) -> datetime:  # noqa: ANN401 (whatever JSON holds)
        if isinstance(value, datetime):
            return value
        try:
            return parse(value)
        except RejectedError as error:
            raise CodedValueError(error.code, error.detail) from None

    return validate


def _instant(value: Any) -> datetime:  # noqa: ANN401 (whatever JSON holds)
    """Parse a time of a body: a text, or an integer of milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return to_datetime(parse_epoch_ms(value))
    if not isinstance(value, str):
        raise CodedValueError("wrong_type", "A time is an RFC 3339 text or an integer of milliseconds")
    micros = parse_rfc3339(value)
    check_range(micros)
    return to_datetime(micros)


def parse_instant_parameter(value: str) -> datetime:
    """Parse a time of a query: RFC 3339 with a zone, or milliseconds since the epoch.

    An unescaped `+` arrives as a space. RFC 3339 times contain no space, so replacing it is no guess. Times
    beyond the years of samples are clamped to them.

    Raises:
        RejectedError: as in `app.platform.kernel.instants`.
    """
    if _EPOCH_MS.fullmatch(value):
        return to_datetime(parse_epoch_ms(int(value)))
    return to_datetime(min(max(parse_rfc3339(value.replace(" ", "+")), EARLIEST_US), LATEST_US))


def _name(value: str) -> str:
    return check_text(value, limit=NAME_LIMIT)


def _description(value: str) -> str:
    return check_text(value, limit=TEXT_LIMIT, lines=True)


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": NAME_LIMIT, "pattern": NAME_PATTERN}),
]
"""A name for people: 1 to 200 characters in normal form C, one line."""

Description = Annotated[
    str,
    AfterValidator(_description),
    WithJsonSchema({"type": "string", "maxLength": TEXT_LIMIT, "pattern": TEXT_PATTERN}),
]
"""A longer text for people: up to 2,000 characters, lines allowed."""

BoxId = Annotated[
    str, AfterValidator(check_box_id), WithJsonSchema({"type": "string", "pattern": BOX_ID_PATTERN})
]
"""A box's id."""

SiteKind = Annotated[
    str, AfterValidator(check_site_kind_format), WithJsonSchema({"type": "string", "pattern": KIND_PATTERN})
]
"""A site's kind."""

Timezone = Annotated[str, AfterValidator(check_timezone), Field(examples=["Europe/Paris"])]
"""The name of an IANA time zone."""

Identifier = Annotated[UUID, Strict(strict=False)]
"""An id given in a body, as text."""

TenantId = Annotated[
    Identifier | None,
    Field(description="The organisation that will own it; only for the platform's administrators"),
]
"""`organisation_id` in requests that create something."""

DURATION: Final = WithJsonSchema(
    {
        "type": "string",
        "pattern": rf"^P([0-9]{{1,9}}D({_DURATION_REST})?|{_DURATION_REST})$",
        "examples": ["PT10M"],
    }
)
"""The JSON schema of an ISO 8601 duration. Each field has its own minimum and maximum."""

Instant = Annotated[
    datetime, BeforeValidator(_coded(_instant)), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A time in a body: RFC 3339 with a zone, or an integer of milliseconds."""

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _check_date(day: object) -> object:
    # Pydantic would also take a number, as seconds since 1970.
    if isinstance(day, str) and not _DATE.fullmatch(day):
        raise PydanticKnownError("date_parsing", {"error": "expected a date such as 2026-12-12"})
    return day


DateParameter = Annotated[date, BeforeValidator(_check_date)]
"""A date in a query: RFC 3339."""

InstantParameter = Annotated[
    datetime,
    BeforeValidator(_coded(parse_instant_parameter)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {
                    "type": "integer",
                    "minimum": EARLIEST_US // US_PER_MS,
                    "maximum": LATEST_US // US_PER_MS - 1,
                },
            ],
            "examples": ["2026-11-24T10:00:00Z", 1795514400000],
        }
    ),
]
"""A time in a query: RFC 3339 with a zone, or milliseconds since the epoch."""


class Point(RequestBody):
    """A location: a GeoJSON Point in WGS 84."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "Point", "coordinates": [1.4442, 43.6047]}]}
    )

    type: Literal["Point"]
    coordinates: Annotated[
        list[float],
        Field(
            min_length=2,
            max_length=2,
            description="Longitude, then latitude, in degrees",
            json_schema_extra={
                "prefixItems": [
                    {"type": "number", "minimum": least, "maximum": most} for least, most, _ in _EARTH
                ]
            },
        ),
        AfterValidator(_coordinates),
    ]

    @property
    def longitude(self) -> float:
        """Degrees east of Greenwich."""
        return self.coordinates[0]

    @property
    def latitude(self) -> float:
        """Degrees north of the equator."""
        return self.coordinates[1]

    @classmethod
    def at(cls, longitude: float | None, latitude: float | None) -> "Point | None":
        """Return the location in two columns; None where they are empty."""
        if longitude is None or latitude is None:
            return None
        return cls(type="Point", coordinates=[longitude, latitude])
