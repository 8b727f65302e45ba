"""Defines the public data of the register: sites, boxes, purposes, counts and figures. Pure.

Only these fields are ever public: pages and documents are built from them alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from app.catalogue.purposes import PURPOSES_BY_NAME, Purpose
from app.environmental_indices.index_results import IndexBand, NoValueReason
from app.presentation.translation import BilingualText
from app.registry.site_retention import RetentionSettings
from app.sound_incidents.incident_statistics import compute_wilson_interval

_YEAR_DAYS = 365.0
LEAST_DAYS = 7.0
"""Shortest observation for a rate of false alarms (days)."""


@dataclass(frozen=True, slots=True)
class IncidentFigures:
    """Acoustic incidents of a site.

    Attributes:
        month, year: incidents within 30 and 365 days.
        confirmed, dismissed: incidents of the 365 days that people confirmed and dismissed.
        days: days of the 365 on which the site could recognise shots.
    """

    site_id: UUID
    month: int
    year: int
    confirmed: int
    dismissed: int
    days: float

    @property
    def precision(self) -> float | None:
        """The confirmed share of reviewed incidents (0 to 1); None: none was reviewed."""
        reviewed = self.confirmed + self.dismissed
        return self.confirmed / reviewed if reviewed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% confidence interval of `precision` (Wilson); None: no incident was reviewed."""
        return compute_wilson_interval(self.confirmed, self.confirmed + self.dismissed)

    @property
    def false_alarms_per_year(self) -> float | None:
        """Dismissed incidents, extrapolated to a year; None: observed for less than `LEAST_DAYS`."""
        return self.dismissed / self.days * _YEAR_DAYS if self.days >= LEAST_DAYS else None


type PurposeOrigin = Literal["default", "operator"]
"""Whether a purpose was created with its site, or declared by the operator."""

type PurposeStanding = Literal["in_force", "not_yet", "awaiting_approval", "ended"]
"""The standing of a purpose. Data are accepted only for a purpose in force."""


@dataclass(frozen=True, slots=True)
class PublishedBox:
    """A box.

    Attributes:
        id: a hash, because the box's own id is half of a credential.
        site_id: its site.
        since: the date of its registration.
        longitude, latitude: the middle of its cell (WGS 84, degrees); None: it has the location of the site.
    """

    id: str
    site_id: UUID
    since: date
    longitude: float | None
    latitude: float | None


@dataclass(frozen=True, slots=True)
class PublishedPurpose:
    """A purpose of a site: `app.registry.models.SitePurpose` without names of persons."""

    site_id: UUID
    purpose: str
    sensitive: bool
    legal_basis: str | None
    legal_reference: str | None
    controller: str | None
    contact: str | None
    impact_assessment: str | None
    notice: str | None
    description: str | None
    description_fr: str | None
    open_data: bool
    starts_at: datetime | None
    ends_at: datetime | None
    declared_at: datetime
    approved_at: datetime | None
    in_force: bool
    origin: PurposeOrigin = "operator"

    @property
    def is_declared(self) -> bool:
        """Whether the operator has declared it; otherwise it is a default of the program."""
        return self.origin == "operator"

    @property
    def known(self) -> Purpose:
        """Its entry in the catalogue."""
        return next(each for name, each in PURPOSES_BY_NAME.items() if name == self.purpose)

    def standing(self, now: datetime) -> PurposeStanding:
        """Return its standing at a time."""
        if self.in_force:
            return "in_force"
        if self.ends_at is not None and self.ends_at <= now:
            return "ended"
        if self.sensitive and self.approved_at is None:
            return "awaiting_approval"
        return "not_yet"


@dataclass(frozen=True, slots=True)
class AlertRecipient:
    """A recipient of alerts: its name if the operator gave one, and the kind of transport."""

    site_id: UUID
    kind: str
    recipient: str | None


@dataclass(frozen=True, slots=True)
class PublishedGrant:
    """A third party that may read data of a site: its purpose, and its name if the operator publishes it."""

    site_id: UUID
    purpose: str
    recipient: str | None
    metrics: Sequence[str]
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class AlertCount:
    """Alerts by their highest severity that fired within 30 and 365 days."""

    site_id: UUID
    severity: str
    month: int
    year: int


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """Messages that were rejected on receipt within 30 and 365 days, by rejection code. They are not stored.

    Attributes:
        site_id: None if the site was unknown.
        purpose: None if the code has no purpose.
    """

    site_id: UUID | None
    code: str
    purpose: str | None
    month: int
    year: int


@dataclass(frozen=True, slots=True)
class PublishedSite:
    """A site with all its public data.

    Attributes:
        operator: the name of its organisation.
        precision_m: the width of grid cells (m).
        longitude, latitude: the middle of its cell (WGS 84, degrees).
        incidents: None if the site recognises no incidents.
        address: the address that the operator gave.
        licence: the licence of its open data (SPDX identifier); None: none.
    """

    id: UUID
    operator: str
    name: str
    kind: str
    timezone: str
    precision_m: int
    longitude: float
    latitude: float
    retention: RetentionSettings
    created_at: datetime
    boxes: tuple[PublishedBox, ...] = ()
    purposes: tuple[PublishedPurpose, ...] = ()
    recipients: tuple[AlertRecipient, ...] = ()
    grants: tuple[PublishedGrant, ...] = ()
    alerts: tuple[AlertCount, ...] = ()
    refusals: tuple[RefusalCount, ...] = ()
    incidents: IncidentFigures | None = None
    address: str | None = None
    licence: str | None = None

    @property
    def declared(self) -> tuple[PublishedPurpose, ...]:
        """The purposes that the operator has declared, in force or not."""
        return tuple(each for each in self.purposes if each.is_declared)

    @property
    def active(self) -> tuple[PublishedPurpose, ...]:
        """The declared purposes that are in force."""
        return tuple(each for each in self.declared if each.in_force)

    @property
    def open_metrics(self) -> tuple[str, ...]:
        """The metrics with published figures, in the order of the catalogue of purposes."""
        return tuple(metric for each in self.active if each.open_data for metric in each.known.metrics)

    @property
    def metric_starts(self) -> Mapping[str, datetime]:
        """The begin of each metric's purpose, where there is one. Earlier values are not public."""
        return {
            metric: each.starts_at
            for each in self.active
            if each.starts_at is not None
            for metric in each.known.metrics
        }


@dataclass(frozen=True, slots=True)
class RegisterSnapshot:
    """The whole register at one time. `unattributed` are refusals without a known site."""

    at: datetime
    sites: Mapping[UUID, PublishedSite]
    unattributed: tuple[RefusalCount, ...]


@dataclass(frozen=True, slots=True)
class RegisterChange:
    """A change in the history. The fields of `data` depend on its kind (`migrations/register_history.py`)."""

    id: int
    at: datetime
    site_id: UUID
    site_name: str
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SiteMean:
    """A mean over all boxes of a site, with its start and its number of values."""

    time: datetime
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class IndexValue:
    """An index for the last complete hour.

    Attributes:
        method: The name of the index (`GET /v1/indices`).
        title: The title of the index.
        start, end: The hour.
        value: The value in `unit`; None: `reason` explains it.
        band: The class of the value, if the index has classes.
        coverage: The share of the hour that was measured (percent).
        notes: Notes on the interpretation.
    """

    method: str
    title: BilingualText
    start: datetime
    end: datetime
    value: float | None
    unit: str
    band: IndexBand | None
    coverage: float
    reason: NoValueReason | None = None
    notes: tuple[BilingualText, ...] = ()


@dataclass(frozen=True, slots=True)
class RecentMetric:
    """The newest value of a metric, and its last 24 hours.

    Attributes:
        metric: The name of the metric.
        newest: The mean of the newest values of the boxes, with the number of boxes; None: no valid value.
        values: Means of 15 minutes over all boxes, in ascending order of time.
        coverage: The share of the 24 hours that was measured, over the boxes with this metric (percent).
        left_out: The number of values that were left out because of their flags.
        spacing_s: The greatest distance between values without a gap (s).
        indices: Indices of the last complete hour.
    """

    metric: str
    newest: SiteMean | None
    values: Sequence[SiteMean]
    coverage: float
    left_out: int
    spacing_s: int
    indices: tuple[IndexValue, ...] = ()


@dataclass(frozen=True, slots=True)
class RecentMeasurements:
    """The open data of a site of the last 24 hours.

    Attributes:
        at: The end of the 24 hours.
        metrics: The metrics with measurements, in the order of the catalogue of purposes.
        indices: The indices that combine several metrics.
        boxes: The number of boxes that sent them.
    """

    at: datetime
    metrics: tuple[RecentMetric, ...] = ()
    indices: tuple[IndexValue, ...] = ()
    boxes: int = 0


@dataclass(frozen=True, slots=True)
class OpenData:
    """The published figures of a site.

    Attributes:
        measured: the metrics that were measured within 30 days, published or not.
        hours: hourly means of the last 7 days, by metric.
        days: daily means of the last 365 days, by metric.
    """

    measured: frozenset[str]
    hours: Mapping[str, Sequence[SiteMean]]
    days: Mapping[str, Sequence[SiteMean]]
