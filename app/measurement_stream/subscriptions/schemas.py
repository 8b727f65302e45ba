"""Defines the request and response bodies of measurement subscriptions and their batches."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.catalogue.metrics import COLUMNS
from app.measurement_stream.formats.format_registry import FORMATS, FormatName
from app.measurement_stream.items import KINDS, ItemKind
from app.measurement_stream.measurement_batch import MOST_ITEMS
from app.measurement_stream.sinks.sink_types import REFUSED
from app.measurement_stream.subscriptions.models import MeasurementSubscription
from app.measurement_stream.subscriptions.sink_schemas import SinkCreate, SinkTarget
from app.notifications.api.endpoint_fields import build_duration_validator
from app.notifications.delivery.transport_types import REASONS
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    DURATION,
    BoxId,
    Identifier,
    Instant,
    Name,
    RequestBody,
    TenantId,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value

_MOST_NAMED: Final = 1000
_LONGEST_AGE_S: Final = 3600.0
_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"

type SubscriptionState = Literal["active", "paused", "disabled"]


def _check_metrics(names: list[str]) -> list[str]:
    for name in names:
        if name not in COLUMNS:
            raise CodedValueError(
                "unknown_metric",
                f"{format_rejected_value(name)} is not in the catalogue: see GET /v1/metrics",
            )
    return [name for name in COLUMNS if name in names]


def _each_once[T](values: list[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _make_default_kinds() -> list[ItemKind]:
    return ["sample"]


_Metrics = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": list(COLUMNS)})]],
    Field(min_length=1, max_length=len(COLUMNS)),
    AfterValidator(_check_metrics),
]


class SubscriptionFilter(RequestBody):
    """Which items of the measurement stream a subscription gets."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"site_ids": [_SITE], "metrics": ["pm2_5", "laeq"], "kinds": ["sample"]}]
        }
    )

    site_ids: Annotated[
        list[Identifier] | None,
        Field(
            min_length=1,
            max_length=_MOST_NAMED,
            description="Only of boxes at these sites; null: all sites of the organisation",
            examples=[[_SITE]],
        ),
    ] = None
    boxes: Annotated[
        list[BoxId] | None,
        Field(
            min_length=1,
            max_length=_MOST_NAMED,
            description="Only of these boxes; null: all",
            examples=[["capitole-01"]],
        ),
    ] = None
    metrics: Annotated[
        _Metrics | None,
        Field(
            description="Only values of these metrics, in the order of the catalogue; null: all",
            examples=[["pm2_5", "laeq"]],
        ),
    ] = None
    kinds: Annotated[
        list[ItemKind],
        Field(
            min_length=1,
            max_length=len(KINDS),
            description="The kinds of items: samples, events of boxes, corrections, settled hours",
            examples=[["sample"]],
        ),
        AfterValidator(_each_once),
    ] = Field(default_factory=_make_default_kinds)


class BatchLimits(RequestBody):
    """When a batch is sent: when it has `size` items, or when its first item is `max_age` old."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"size": 500, "max_age": "PT5S"}]})

    size: Annotated[
        int, Field(ge=1, le=MOST_ITEMS, description="The most items of a batch", examples=[500])
    ] = 500
    max_age: Annotated[
        str,
        build_duration_validator(_LONGEST_AGE_S, "an hour"),
        DURATION,
        Field(
            description="How long the first item of a batch waits for others: ISO 8601, up to PT1H",
            examples=["PT5S"],
        ),
    ] = "PT5S"


_FORMAT: Final = Field(
    description="The format of bodies or messages; null if the sink has only its own. Left out: `json` where "
    "the sink offers it. `senml`, `csv`, `influx` and `ngsi-ld` can express samples only. "
    "`sensorthings`, for `mqtt`, sends samples and hours as Observations of SensorThings",
    examples=["json"],
)
_GZIP: Final = Field(description="Whether bodies are compressed by gzip; for `webhook` and `influxdb`")


class SubscriptionCreate(RequestBody):
    """A new subscription."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Air to the open data portal",
                    "sink": {"kind": "webhook", "url": "https://example.com/hooks/measurements"},
                    "format": "cloudevents",
                    "filter": {"metrics": ["pm2_5"]},
                    "batch": {"size": 500, "max_age": "PT5S"},
                    "gzip": True,
                }
            ]
        }
    )

    organisation_id: TenantId = None
    name: Annotated[Name, Field(description="A name for people", examples=["Air to the open data portal"])]
    sink: SinkCreate
    format: Annotated[FormatName | None, _FORMAT] = None
    filter: SubscriptionFilter = Field(default_factory=SubscriptionFilter)
    batch: BatchLimits = Field(default_factory=BatchLimits)
    gzip: Annotated[bool, _GZIP] = False
    start: Annotated[
        Instant | None,
        Field(
            description="Begins with what was stored after this time, as far as it is still in the stream; "
            "null: with what is stored from now on",
            examples=["2026-11-30T00:00:00Z"],
        ),
    ] = None


class SubscriptionChange(RequestBody):
    """A change of a subscription. `sink` replaces the whole configuration; its kind stays.

    Secrets that are left out stay, unless the address or the account changes.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"batch": {"size": 100, "max_age": "PT1S"}}]})

    name: Name = make_omittable_field()
    sink: SinkCreate = make_omittable_field()
    format: FormatName = make_omittable_field()
    filter: SubscriptionFilter = make_omittable_field()
    batch: BatchLimits = make_omittable_field()
    gzip: Annotated[bool, _GZIP] = make_omittable_field()


class SubscriptionRewind(RequestBody):
    """Where a subscription continues. Give one of both."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"time": "2026-11-30T00:00:00Z"}]})

    time: Annotated[
        Instant | None,
        Field(description="Continue with what was stored after this time", examples=["2026-11-30T00:00:00Z"]),
    ] = None
    item: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,18}-[0-9]{1,10}$",
            description="Continue after this item",
            examples=["48213-7"],
        ),
    ] = None


class SinkHealth(BaseModel):
    """The health of a sink, from its attempts."""

    consecutive_failures: int = Field(description="Failures since the last success", examples=[0])
    failing_since: datetime | None = Field(description="The first failure since the last success")
    last_success_at: datetime | None = Field(description="When a batch was last confirmed")
    last_failure_at: datetime | None = Field(description="When an attempt last failed")
    last_reason: str | None = Field(
        description=f"Why it failed: `{REFUSED}`, or a reason of deliveries: {', '.join(REASONS[1:])}",
        examples=["connect_failed"],
    )
    last_status: int | None = Field(description="Its HTTP status, if there was one", examples=[503])
    last_detail: str | None = Field(
        description="What the receiver said at the newest attempt; null after a success",
        examples=["no stream has this subject: create one"],
    )


class SubscriptionOut(ResourceModel):
    """A subscription to the measurement stream: sends items to a sink, and knows how far it is."""

    volatile = frozenset(
        {"state", "disabled_reason", "disabled_at", "cursor", "health", "items_sent", "secret_expires"}
    )

    id: UUID
    organisation_id: UUID
    name: str = Field(examples=["Air to the open data portal"])
    sink: SinkTarget
    secrets: list[str] = Field(
        description="The names of the sink's secrets that are stored", examples=[["secret"]]
    )
    secret_expires: list[datetime] = Field(
        description="When the former secrets of a webhook stop signing, soonest first; empty: none"
    )
    format: Annotated[FormatName | None, _FORMAT]
    filter: SubscriptionFilter
    batch: BatchLimits
    gzip: Annotated[bool, _GZIP]
    state: SubscriptionState = Field(
        description="`paused`: by a person. `disabled`: by Vigie, see `disabled_reason`. Both continue at "
        "the cursor after `POST …/resume`"
    )
    disabled_reason: str | None = Field(
        description="`failing`: the sink failed for too long; `gone`: it answered 410; `access_lost`: the "
        "key or person with whose access it reads may no longer read measurements",
        examples=["failing"],
    )
    disabled_at: datetime | None = Field(description="When Vigie disabled it")
    cursor: str = Field(
        description="The id of the item up to which everything was sent or left out", examples=["48213-7"]
    )
    items_sent: int = Field(description="The number of confirmed items", examples=[120000])
    health: SinkHealth
    created_by: UUID = Field(
        description="The API key or person with whose access it reads: its creator, or who changed or "
        "resumed it last"
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: MeasurementSubscription, secrets: list[str], ends: list[datetime]) -> Self:
        """Convert a row to its response body, with the names of its secrets, and the ends of former ones."""
        return cls.model_validate({**_describe(row), "secrets": secrets, "secret_expires": ends})


class SubscriptionCreated(SubscriptionOut):
    """A new subscription. The secret of a webhook is shown only here."""

    once = frozenset({"secret"})

    secret: str | None = Field(
        description="Of a webhook: verifies signatures, Standard Webhooks 1.0. Null for other sinks",
        examples=["whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"],
    )


def _describe(row: MeasurementSubscription) -> Mapping[str, Any]:
    same = ("id", "organisation_id", "name", "gzip", "state", "disabled_reason", "disabled_at")
    return {
        **{name: getattr(row, name) for name in (*same, "items_sent", "created_by")},
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        # That of a newer version is unknown during a rolling upgrade, and after a return.
        "format": row.format if row.format in FORMATS else None,
        "sink": {"kind": row.sink, **row.target},
        "filter": {name: getattr(row, name) for name in ("site_ids", "boxes", "metrics", "kinds")},
        "batch": {"size": row.batch_size, "max_age": row.max_age},
        "cursor": f"{row.cursor_position}-{row.cursor_index}",
        "health": {name: getattr(row, name) for name in SinkHealth.model_fields},
    }


def list_secret_names(opened: str) -> list[str]:
    """List the names of opened credentials (JSON)."""
    return sorted(msgspec.json.decode(opened, type=dict[str, Any]))
