"""Defines the JSON of a site's data retention: its settings, the progress of removal, and a preview."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.catalogue.purposes import PURPOSES, PURPOSES_BY_NAME, Purpose, PurposeName
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.models import Site
from app.registry.organisation_and_site_schemas import RETENTION_DAYS_MAX
from app.registry.purpose_service import get_retention_settings
from app.registry.site_retention import RetentionSettings
from app.timeseries.retention.expired_data_repository import PurposeExtent
from app.timeseries.retention.expiry_cutoffs import NEVER
from app.timeseries.retention.preview import ExpiryPreview, RemovalProgress

_Days = Annotated[int, Field(ge=1, le=RETENTION_DAYS_MAX)]
_NAMES: Final = ", ".join(PURPOSES_BY_NAME)


def _known(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    if isinstance(value, dict):
        for name in value:
            if name not in PURPOSES_BY_NAME:
                raise CodedValueError(
                    "unknown_purpose", f"{format_rejected_value(name)} is not a purpose: {_NAMES}"
                )
    return value


class RetentionSet(RequestBody):
    """The retention of a site's data. A missing field is treated as null."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "default_days": 730,
                    "purposes": {"noise": 30, "acoustic_safety": 7, "air_quality": None},
                    "summaries_days": None,
                    "removes": False,
                }
            ]
        }
    )

    default_days: _Days | None = Field(
        None, description="Days of retention for purposes without their own; null: for ever"
    )
    purposes: Annotated[dict[PurposeName, _Days | None], BeforeValidator(_known)] = Field(
        default_factory=dict,
        description=f"Days of retention by purpose ({_NAMES}), overriding the default; null: for ever",
    )
    summaries_days: _Days | None = Field(
        None,
        description="Days of retention for roll-ups, at least those of samples; null: for ever",
    )
    removes: bool = Field(
        False,
        description="Whether older data are removed. False: only new messages with older data are refused",
    )

    def settings(self) -> RetentionSettings:
        """Convert to the internal settings."""
        return RetentionSettings(
            self.default_days,
            {str(name): days for name, days in self.purposes.items()},
            self.summaries_days,
            self.removes,
        )


class PurposeRetention(BaseModel):
    """The effective retention of one purpose."""

    purpose: PurposeName
    title: str = Field(description="Display name", examples=["Air quality"])
    title_fr: str = Field(description="The same in French", examples=["Qualité de l'air"])
    metrics: list[str]
    events: bool = Field(description="Whether it has event types")
    days: int | None = Field(description="Days of retention; null: for ever")


class RemovedOut(BaseModel):
    """The data removed by retention so far; those in whole chunks are not counted."""

    samples: int = Field(description="Samples that were removed completely")
    values: int = Field(description="Values, including those of such samples")
    events: int = Field(description="Events")
    hourly: int = Field(description="Rows of hourly roll-ups: one per box, metric and day (UTC)")
    daily: int = Field(description="Daily roll-ups")


class RemovalOut(BaseModel):
    """The progress of removal."""

    boxes: int = Field(description="Number of boxes at the site")
    boxes_done: int = Field(description="Number of boxes with nothing left to remove")
    removed: RemovedOut
    last_removed_at: datetime | None = Field(description="Time of the last removal; null: never")


class RetentionOut(ResourceModel):
    """The retention of a site's data, and the progress of removal."""

    volatile: ClassVar[frozenset[str]] = frozenset({"removal"})

    default_days: int | None = Field(description="Days for purposes without their own; null: for ever")
    purposes: dict[PurposeName, int | None] = Field(description="Days by purpose, if set")
    summaries_days: int | None = Field(description="Days for roll-ups; null: for ever")
    removes: bool = Field(description="Whether older data are removed, not only refused on arrival")
    effective: list[PurposeRetention] = Field(description="Effective retention of each purpose")
    removal: RemovalOut

    @classmethod
    def of(cls, site: Site, progress: RemovalProgress) -> "RetentionOut":
        """Convert a site's settings."""
        settings = get_retention_settings(site)
        removed = {name: getattr(progress, name) for name in RemovedOut.model_fields}
        return cls(
            default_days=settings.default_days,
            purposes={
                name: settings.purposes[name] for name in PURPOSES_BY_NAME if name in settings.purposes
            },
            summaries_days=settings.summaries_days,
            removes=settings.removes,
            effective=_effective(settings),
            removal=RemovalOut(
                boxes=progress.boxes,
                boxes_done=progress.done,
                removed=RemovedOut(**removed),
                last_removed_at=progress.updated_at,
            ),
        )


def _effective(settings: RetentionSettings) -> list[PurposeRetention]:
    return [
        PurposeRetention(
            purpose=purpose.name,
            title=purpose.title,
            title_fr=purpose.title_fr,
            metrics=list(purpose.metrics),
            events=bool(purpose.events),
            days=settings.days(purpose.name),
        )
        for purpose in PURPOSES
    ]


class PurposePreview(BaseModel):
    """The data of one purpose that would be removed."""

    purpose: PurposeName
    before: datetime | None = Field(
        description="Data measured before this local midnight would be removed; null: none"
    )
    values: int = Field(description="Values of samples")
    events: int = Field(description="Events")
    hourly: int = Field(description="Rows of hourly roll-ups: one per box, metric and day (UTC)")
    daily: int = Field(description="Daily roll-ups")
    first: datetime | None = Field(description="Measurement time of the first value or event")
    last: datetime | None = Field(description="Measurement time of the last value or event")


class RetentionPreview(BaseModel):
    """The data that these settings would remove now, with `removes`."""

    complete: bool = Field(
        description="Whether everything was counted. False: there are more, because counting stops at two "
        "million samples"
    )
    samples: int = Field(description="Samples that would be removed completely")
    values: int = Field(description="Values, including those of such samples")
    events: int = Field(description="Events")
    hourly: int = Field(description="Rows of hourly roll-ups: one per box, metric and day (UTC)")
    daily: int = Field(description="Daily roll-ups")
    purposes: list[PurposePreview] = Field(description="Counts by purpose")

    @classmethod
    def of(cls, found: ExpiryPreview) -> "RetentionPreview":
        """Convert the counts."""
        return cls(
            complete=found.complete,
            samples=found.samples.samples,
            values=found.samples.values,
            events=sum(extent.values for extent in found.events.values()),
            hourly=sum(found.hourly.values()),
            daily=sum(found.daily.values()),
            purposes=[_purpose(found, purpose) for purpose in PURPOSES],
        )


def _purpose(found: ExpiryPreview, purpose: Purpose) -> PurposePreview:
    name = purpose.name
    values = found.samples.purposes.get(name, PurposeExtent())
    events = found.events.get(name, PurposeExtent())
    limits = {**found.limits.events, **found.limits.metrics}
    both = PurposeExtent()
    for extent in (values, events):
        both.add(extent)
    return PurposePreview(
        purpose=name,
        before=None if limits[name] == NEVER else limits[name],
        values=values.values,
        events=events.values,
        hourly=found.hourly.get(name, 0),
        daily=found.daily.get(name, 0),
        first=both.first,
        last=both.last,
    )
