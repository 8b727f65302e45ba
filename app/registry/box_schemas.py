"""Defines the JSON schemas of boxes and their credentials."""

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import InitErrorDetails

from app.platform.db.tenant_reader import FlatRow
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    BoxId,
    Identifier,
    Name,
    Point,
    RequestBody,
    TenantId,
    make_omittable_field,
)
from app.platform.http.contract.problems import FAULTS_LIMIT, CodedValueError
from app.platform.kernel.instants import to_datetime
from app.platform.kernel.rejection_codes import RejectedError
from app.platform.kernel.strict_json import check_texts
from app.registry.box_configurations import MAX_BYTES as CONFIG_BYTES
from app.registry.box_repository import BoxRow
from app.registry.labels import Attributes, BoxKind, Tags
from app.registry.models import Box

BULK_MAX: Final = 1000
BULK_FAULTS: Final = 100
"""The largest number of faults of a list or table of boxes that a response lists."""

INTERVAL_MAX_S: Final = 7 * 86_400
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "box-0001",
    "site_id": "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10",
    "name": "Corner of rue de Metz",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6009]},
    "interval_s": 60,
    "ack": False,
    "kind": "facade",
    "tags": ["metz", "lot:2026-11"],
    "attributes": {"night_limit": 55},
}


def _check_config(value: dict[str, Any]) -> dict[str, Any]:
    try:
        check_texts(value, CONFIG_BYTES)
    except RejectedError as error:
        raise CodedValueError(error.code, error.detail) from None
    size = len(json.dumps(value).encode())
    if size > CONFIG_BYTES:
        raise CodedValueError("text_too_long", f"it has {size} bytes as JSON; the limit is {CONFIG_BYTES}")
    return value


DesiredConfig = Annotated[
    dict[str, Any],
    Field(description="An object of at most 16 KiB as JSON"),
    AfterValidator(_check_config),
]
"""The desired configuration of a box. The box defines its fields."""

Interval = Annotated[
    int,
    Field(
        ge=1, le=INTERVAL_MAX_S, description="Usual seconds between two samples. Coverage is computed by it"
    ),
]
_KIND: Final = Field(description="A word of your choice: facade, lamp-post, indoor, …")
# Fields that the box reports.
_REPORTED_FIELDS: Final = ("state", "state_at", "firmware", "battery", "rssi")
ACTIVITY_FIELDS: Final = (
    *("last_sample_at", "last_heard_at", "clock_skew_ms", "late_share", "last_refused_at"),
    *("last_refused_code", "silent", "activity"),
)
"""Fields of a box that are derived from its samples and their arrival."""
_NEW_ACTIVITY: Final[dict[str, Any]] = {
    **dict.fromkeys(ACTIVITY_FIELDS),
    "silent": False,
    "activity": "active",
}
_ACK: Final = Field(description="Publish acks of committed samples to the box, which buffers them until then")


class BoxCreate(RequestBody):
    """A new box."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    organisation_id: TenantId = None
    id: Annotated[
        BoxId, Field(description="The name in topics and the MQTT username; unique on the platform")
    ]
    site_id: Identifier
    name: Name | None = None
    location: Point | None = Field(None, description="The position of the box; null: that of its site")
    interval_s: Interval = 60
    ack: Annotated[bool, _ACK] = False
    kind: Annotated[BoxKind, _KIND] | None = None
    tags: Tags = Field(default_factory=list)
    attributes: Attributes = Field(default_factory=dict)


def _validate_boxes(boxes: object, validate: ValidatorFunctionWrapHandler) -> list[Any]:
    """Validate boxes one by one, and stop at the limit of reported faults: there could be half a million."""
    if not isinstance(boxes, list):
        return validate(boxes)  # type: ignore[no-any-return] # which refuses it
    if not boxes:
        raise CodedValueError("empty_batch", "There are no boxes in the list")
    if len(boxes) > BULK_MAX:
        raise CodedValueError(
            "too_many_boxes", f"A request takes at most {BULK_MAX} boxes: send them in parts"
        )
    valid: list[Any] = []
    faults: list[InitErrorDetails] = []
    for index, box in enumerate(boxes):
        if len(faults) >= FAULTS_LIMIT:
            break
        try:
            valid += validate([box])
        except ValidationError as error:
            faults += [
                InitErrorDetails(
                    type=each["type"],
                    loc=(index, *each["loc"][1:]),
                    input=each["input"],
                    ctx=each.get("ctx", {}),
                )
                for each in error.errors()
            ]
    if faults:
        raise ValidationError.from_exception_data("boxes", faults)
    return valid


class BoxesCreate(RequestBody):
    """New boxes. If one is invalid, none is created."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"boxes": [_EXAMPLE, {**_EXAMPLE, "id": "box-0002"}]}]}
    )

    boxes: Annotated[
        list[BoxCreate],
        WrapValidator(_validate_boxes),
        Field(json_schema_extra={"minItems": 1, "maxItems": BULK_MAX}),
    ]


class BoxChange(RequestBody):
    """Changes of a box. Moving it to another site of the organisation closes its alerts."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Pont-Neuf, north end", "interval_s": 30}]}
    )

    site_id: Identifier = make_omittable_field()
    name: Name | None = make_omittable_field()
    location: Point | None = make_omittable_field()
    interval_s: Interval = make_omittable_field()
    ack: Annotated[bool, _ACK] = make_omittable_field()
    kind: Annotated[BoxKind, _KIND] | None = make_omittable_field()
    tags: Tags = make_omittable_field()
    attributes: Attributes = make_omittable_field()


class BoxOut(ResourceModel):
    """A connected box."""

    volatile = frozenset({*_REPORTED_FIELDS, *ACTIVITY_FIELDS})

    id: str
    organisation_id: UUID
    site_id: UUID
    name: str | None
    location: Point | None
    interval_s: int
    ack: bool
    kind: str | None
    tags: list[str]
    attributes: Attributes
    state: str | None = Field(description="`online` or `offline`, as last reported; null: never reported")
    state_at: datetime | None
    firmware: str | None
    battery: float | None = Field(description="Percent")
    rssi: float | None = Field(description="dBm")
    last_sample_at: datetime | None = Field(
        description="Measurement time of the newest sample, by the box's clock; updated within ten seconds"
    )
    last_heard_at: datetime | None = Field(
        description="Arrival of the last samples, by Vigie's clock; updated within ten seconds"
    )
    silent: bool | None = Field(
        description="Whether no message came for `sites.silent_intervals` (3) of its intervals and ten "
        "seconds more, or since its creation; null for the key of a grant"
    )
    activity: Literal["active", "refused", "silent"] | None = Field(
        description="In the last `sites.silent_intervals` (3) intervals: `active`: samples were stored, or "
        "the box was just created; `refused`: messages came, but no sample could be stored; `silent`: "
        "nothing came; null for the key of a grant"
    )
    last_refused_at: datetime | None = Field(
        description="Time of the last refusal, updated within ten seconds; null: nothing was refused"
    )
    last_refused_code: str | None = Field(
        description="Rejection code of that refusal; the box guide lists them",
        examples=["value_out_of_bounds"],
    )
    clock_skew_ms: float | None = Field(
        description="Smallest delay between measurement time and arrival of the samples of the last seconds; "
        "negative: the box's clock is ahead"
    )
    late_share: float | None = Field(description="Share (0 to 1) of samples that came after a newer one")
    revoked_at: datetime | None = Field(description="When its credentials were revoked; null: they are valid")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: BoxRow) -> "BoxOut":
        """Build the response from a row."""
        box, newest_us, heard_at, skew_ms, late_share, activity, refused_at, refused_code = row
        activity_fields = {
            "last_sample_at": None if newest_us is None else to_datetime(newest_us),
            "last_heard_at": heard_at,
            "silent": activity == "silent",
            "activity": activity,
            "last_refused_at": refused_at,
            "last_refused_code": refused_code,
            "clock_skew_ms": skew_ms,
            "late_share": late_share,
        }
        return cls(**_plain(box), **activity_fields)

    @classmethod
    def steady(cls, row: Box) -> "BoxOut":
        """Build the response without fields that change by messages of the box, to compare versions."""
        return cls(**_plain(row), **_NEW_ACTIVITY)


def format_box_row(row: FlatRow) -> dict[str, Any]:
    """Return the JSON of a box in a list: what `BoxOut.of` shows."""
    shown = dict(row.items())
    longitude, latitude, newest_us = (shown.pop(name) for name in ("longitude", "latitude", "newest_us"))
    located = longitude is not None and latitude is not None
    shown["location"] = {"type": "Point", "coordinates": [longitude, latitude]} if located else None
    shown["last_heard_at"] = shown["last_sample_at"]
    shown["last_sample_at"] = None if newest_us is None else to_datetime(newest_us)
    shown["silent"] = shown["activity"] == "silent"
    shown["last_refused_at"], shown["last_refused_code"] = shown.pop("refused_at"), shown.pop("code")
    return shown


class Credentials(BaseModel):
    """The MQTT credentials of a box."""

    username: str = Field(description="The box id", examples=["box-0001"])
    password: str


class BoxCreated(BoxOut):
    """A new box. The password is shown only here: store it."""

    once = frozenset({"credentials"})

    credentials: Credentials

    @classmethod
    def with_password(cls, row: Box, password: str) -> "BoxCreated":
        """Build the response from a new row and its password."""
        credentials = Credentials(username=row.id, password=password)
        return cls(**_plain(row), **_NEW_ACTIVITY, credentials=credentials)


class BoxesCreated(BaseModel):
    """New boxes, in the order of the request."""

    data: list[BoxCreated]
    next: None = None


class BoxesChecked(BaseModel):
    """The result of a dry run without faults: nothing was created."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True, "valid": 12}]})

    dry_run: Literal[True] = True
    valid: int = Field(description="Number of boxes that can be created")


class CredentialsOut(BaseModel):
    """New credentials; the previous ones no longer work. The password is shown only here: store it."""

    credentials: Credentials


def _plain(row: Box) -> dict[str, Any]:
    names = ("id", "organisation_id", "site_id", "name", "interval_s", "ack", "kind", "tags", "attributes")
    times = ("revoked_at", "created_at", "updated_at")
    return {
        **{name: getattr(row, name) for name in (*names, *_REPORTED_FIELDS, *times)},
        "location": Point.at(row.longitude, row.latitude),
    }
