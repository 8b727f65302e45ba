"""The shapes of boxes on the wire."""

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
"""How many faults of a list or table of boxes an answer names one by one."""

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
        raise CodedValueError("text_too_long", f"it has {size} bytes as JSON, of {CONFIG_BYTES} at most")
    return value


DesiredConfig = Annotated[
    dict[str, Any],
    Field(description="An object of at most 16 KiB as JSON"),
    AfterValidator(_check_config),
]
"""What a box should be configured to. Its fields are the box's own."""

Interval = Annotated[
    int,
    Field(ge=1, le=INTERVAL_MAX_S, description="Seconds between two samples as a rule: says what is missing"),
]
_KIND: Final = Field(description="A word of yours: facade, lamp-post, indoor, …")
# What a box tells of itself, and what its samples tell of it.
_TOLD: Final = ("state", "state_at", "firmware", "battery", "rssi")
_LIFE: Final = (
    *("last_sample_at", "last_heard_at", "clock_skew_ms", "late_share", "last_refused_at"),
    "last_refused_code",
)
_NEW: Final[dict[str, Any]] = {"silent": False, "activity": "active"}
_ACK: Final = Field(description="Publish to the box which samples are committed; it keeps them until then")


class BoxCreate(RequestBody):
    """A box to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    organisation_id: TenantId = None
    id: Annotated[
        BoxId, Field(description="Its name in topics, and its MQTT username; unique on the platform")
    ]
    site_id: Identifier
    name: Name | None = None
    location: Point | None = Field(None, description="Where it hangs; null: at its site's place")
    interval_s: Interval = 60
    ack: Annotated[bool, _ACK] = False
    kind: Annotated[BoxKind, _KIND] | None = None
    tags: Tags = Field(default_factory=list)
    attributes: Attributes = Field(default_factory=dict)


def _until_enough(boxes: object, validate: ValidatorFunctionWrapHandler) -> list[Any]:
    """Take boxes one by one, until as many faults are found as are told: there could be half a million."""
    if not isinstance(boxes, list):
        return validate(boxes)  # type: ignore[no-any-return] # which refuses it
    if not boxes:
        raise CodedValueError("empty_batch", "There are no boxes in the list")
    if len(boxes) > BULK_MAX:
        raise CodedValueError(
            "too_many_boxes", f"At most {BULK_MAX} boxes are taken at once: send them in parts"
        )
    taken: list[Any] = []
    faults: list[InitErrorDetails] = []
    for place, box in enumerate(boxes):
        if len(faults) >= FAULTS_LIMIT:
            break
        try:
            taken += validate([box])
        except ValidationError as error:
            faults += [
                InitErrorDetails(
                    type=each["type"],
                    loc=(place, *each["loc"][1:]),
                    input=each["input"],
                    ctx=each.get("ctx", {}),
                )
                for each in error.errors()
            ]
    if faults:
        raise ValidationError.from_exception_data("boxes", faults)
    return taken


class BoxesCreate(RequestBody):
    """Boxes to be: all of them or, if one is faulty, none."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"boxes": [_EXAMPLE, {**_EXAMPLE, "id": "box-0002"}]}]}
    )

    boxes: Annotated[
        list[BoxCreate],
        WrapValidator(_until_enough),
        Field(json_schema_extra={"minItems": 1, "maxItems": BULK_MAX}),
    ]


class BoxChange(RequestBody):
    """What may change of a box. Moving it to another site of the organisation closes its alerts."""

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

    volatile = frozenset({*_TOLD, *_LIFE, "silent", "activity"})

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
    state: str | None = Field(description="`online` or `offline`, as it last said; null: it never did")
    state_at: datetime | None
    firmware: str | None
    battery: float | None = Field(description="Percent")
    rssi: float | None = Field(description="dBm")
    last_sample_at: datetime | None = Field(
        description="The time of its newest sample, by its own clock; up to ten seconds late"
    )
    last_heard_at: datetime | None = Field(
        description="When samples last came from it, by Vigie's clock; up to ten seconds late"
    )
    silent: bool = Field(
        description="Nothing came for `sites.silent_intervals` (3) of its intervals and ten seconds more, or "
        "since it was made"
    )
    activity: Literal["active", "refused", "silent"] = Field(
        description="`refused`: something came in its last `sites.silent_intervals` (3) intervals, and no "
        "sample of it could be stored; `silent`: nothing came; `active`: samples came, or it was just made"
    )
    last_refused_at: datetime | None = Field(
        description="When something of it was last refused; up to ten seconds late. null: nothing was"
    )
    last_refused_code: str | None = Field(
        description="Why: a reason code of the box guide", examples=["value_out_of_bounds"]
    )
    clock_skew_ms: float | None = Field(
        description="How long its newest samples took from their time to their arrival, the least of the "
        "last seconds; negative: its clock is ahead"
    )
    late_share: float | None = Field(
        description="Share (0 to 1) of its samples that were older than what had come before"
    )
    revoked_at: datetime | None = Field(
        description="When its credentials were revoked; null: they are in force"
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: BoxRow) -> "BoxOut":
        """The shape of a row."""
        box, newest_us, heard_at, skew_ms, late_share, activity, refused_at, refused_code = row
        life = {
            "last_sample_at": None if newest_us is None else to_datetime(newest_us),
            "last_heard_at": heard_at,
            "silent": activity == "silent",
            "activity": activity,
            "last_refused_at": refused_at,
            "last_refused_code": refused_code,
            "clock_skew_ms": skew_ms,
            "late_share": late_share,
        }
        return cls(**_plain(box), **life)

    @classmethod
    def steady(cls, row: Box) -> "BoxOut":
        """The shape of a row as far as only changes of the box go, for comparisons."""
        return cls(**_plain(row), **dict.fromkeys(_LIFE), **_NEW)


class Credentials(BaseModel):
    """What a box connects to the broker with."""

    username: str = Field(description="The box's id", examples=["box-0001"])
    password: str


class BoxCreated(BoxOut):
    """A new box. Its password is shown here and never again."""

    once = frozenset({"credentials"})

    credentials: Credentials

    @classmethod
    def with_password(cls, row: Box, password: str) -> "BoxCreated":
        """The shape of a row that was made just now."""
        credentials = Credentials(username=row.id, password=password)
        return cls(**_plain(row), **dict.fromkeys(_LIFE), **_NEW, credentials=credentials)


class BoxesCreated(BaseModel):
    """New boxes, in the order in which they were sent."""

    data: list[BoxCreated]
    next: None = None


class CredentialsOut(BaseModel):
    """New credentials; the former ones no longer work. Shown here and never again."""

    credentials: Credentials


def _plain(row: Box) -> dict[str, Any]:
    names = ("id", "organisation_id", "site_id", "name", "interval_s", "ack", "kind", "tags", "attributes")
    times = ("revoked_at", "created_at", "updated_at")
    return {
        **{name: getattr(row, name) for name in (*names, *_TOLD, *times)},
        "location": Point.at(row.longitude, row.latitude),
    }
