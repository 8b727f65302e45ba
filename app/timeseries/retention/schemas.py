"""The shapes of retention on the wire. Shapes only."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.catalogue.purposes import PURPOSES, PURPOSES_BY_NAME, Purpose, PurposeName
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.models import Site
from app.registry.purpose_service import get_retention_settings
from app.registry.retention_settings import RetentionSettings
from app.registry.schemas import RETENTION_DAYS_MAX
from app.timeseries.retention.expiry_limits import NEVER
from app.timeseries.retention.expiry_sql import PurposeExtent
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
    """How long a site keeps what its boxes measure. What is left out is as null is."""

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
        None, description="How long what has no days of its own is kept; null: for ever"
    )
    purposes: Annotated[dict[PurposeName, _Days | None], BeforeValidator(_known)] = Field(
        default_factory=dict,
        description=f"Days by purpose ({_NAMES}), shorter or longer than the default; null: for ever",
    )
    summaries_days: _Days | None = Field(
        None,
        description="How long summaries of hours and days are kept; null: for ever. No shorter than samples",
    )
    removes: bool = Field(
        False, description="Whether what is older is removed. False: it is refused when it comes, and stays"
    )

    def settings(self) -> RetentionSettings:
        """The same as the rest of the program has it."""
        return RetentionSettings(
            self.default_days,
            {str(name): days for name, days in self.purposes.items()},
            self.summaries_days,
            self.removes,
        )


class PurposeRetention(BaseModel):
    """What holds for one purpose."""

    purpose: PurposeName
    title: str = Field(description="What people call it", examples=["Air quality"])
    title_fr: str = Field(description="The same in French", examples=["Qualité de l'air"])
    metrics: list[str]
    events: bool = Field(description="Whether some types of events are for it")
    days: int | None = Field(description="How long it is kept; null: for ever")


class RemovedOut(BaseModel):
    """What was removed for its age so far; what went with whole chunks is not among it."""

    samples: int = Field(description="Samples of which nothing is left")
    values: int = Field(description="Values, those of such samples among them")
    events: int = Field(description="Events")
    hourly: int = Field(description="Rows of summaries of hours: of a box, a metric and a day (UTC)")
    daily: int = Field(description="Summaries of days")


class RemovalOut(BaseModel):
    """How far removal is."""

    boxes: int = Field(description="Boxes of the site")
    boxes_done: int = Field(description="Those that have nothing left to remove")
    removed: RemovedOut
    last_removed_at: datetime | None = Field(description="When something was removed last; null: never")


class RetentionOut(ResourceModel):
    """How long a site keeps what its boxes measure, and how far removal is."""

    volatile: ClassVar[frozenset[str]] = frozenset({"removal"})

    default_days: int | None = Field(description="Of what has no days of its own; null: for ever")
    purposes: dict[PurposeName, int | None] = Field(description="Days by purpose, where they were set")
    summaries_days: int | None = Field(description="Of summaries of hours and days; null: for ever")
    removes: bool = Field(description="Whether what is older is removed, not only refused")
    effective: list[PurposeRetention] = Field(description="What holds for each purpose")
    removal: RemovalOut

    @classmethod
    def of(cls, site: Site, progress: RemovalProgress) -> "RetentionOut":
        """The shape of a site's settings."""
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
    """What of one purpose would go."""

    purpose: PurposeName
    before: datetime | None = Field(
        description="What was measured before this would go, a midnight of the site's; null: nothing"
    )
    values: int = Field(description="Values of samples")
    events: int = Field(description="Events")
    hourly: int = Field(description="Rows of summaries of hours: of a box, a metric and a day (UTC)")
    daily: int = Field(description="Summaries of days")
    first: datetime | None = Field(description="When the first of the values or events was measured")
    last: datetime | None = Field(description="When the last of them was")


class RetentionPreview(BaseModel):
    """What would go if these settings held now, and were to remove."""

    complete: bool = Field(
        description="Whether all was counted. False: there is more, for counting ends at two million samples"
    )
    samples: int = Field(description="Samples of which nothing would be left")
    values: int = Field(description="Values, those of such samples among them")
    events: int = Field(description="Events")
    hourly: int = Field(description="Rows of summaries of hours: of a box, a metric and a day (UTC)")
    daily: int = Field(description="Summaries of days")
    purposes: list[PurposePreview] = Field(description="The same by purpose")

    @classmethod
    def of(cls, found: ExpiryPreview) -> "RetentionPreview":
        """The shape of what was counted."""
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
