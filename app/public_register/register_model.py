"""What is public, as data: sites, their boxes, their purposes, what became of it all. Pure.

Owns which fields there are: what is not here is shown nowhere. Must not know a database, HTTP or a language.

What the register shows of acoustic incidents, and of how often they were real. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from app.catalogue.purposes import PURPOSES_BY_NAME, Purpose
from app.incidents.incident_statistics import compute_wilson_interval
from app.indicators.index_results import BilingualText, IndexBand, NoValueReason
from app.registry.retention_settings import RetentionSettings

_YEAR_DAYS = 365.0
LEAST_DAYS = 7.0
"""Observed for less, a site has no rate of false alarms."""


@dataclass(frozen=True, slots=True)
class IncidentFigures:
    """Of one site that recognises shots, or did.

    Attributes:
        month, year: incidents within 30 and 365 days.
        confirmed, dismissed: of those of the year, what people found.
        days: for how many days of the year shots were recognised.
    """

    site_id: UUID
    month: int
    year: int
    confirmed: int
    dismissed: int
    days: float

    @property
    def precision(self) -> float | None:
        """The share of reviewed incidents that were confirmed (of one); None: none was reviewed."""
        reviewed = self.confirmed + self.dismissed
        return self.confirmed / reviewed if reviewed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """In which that share is with 95 %, however few were reviewed; None: none was."""
        return compute_wilson_interval(self.confirmed, self.confirmed + self.dismissed)

    @property
    def false_alarms_per_year(self) -> float | None:
        """Dismissed incidents in proportion to the days observed; None: these are too few to say."""
        return self.dismissed / self.days * _YEAR_DAYS if self.days >= LEAST_DAYS else None


type PurposeOrigin = Literal["default", "operator"]
"""Whether a purpose came with its site, or its operator has declared it."""

type PurposeStanding = Literal["in_force", "not_yet", "awaiting_approval", "ended"]
"""Whether a purpose holds: only for one in force anything is taken."""


@dataclass(frozen=True, slots=True)
class PublishedBox:
    """A box.

    Attributes:
        id: a hash; the id under which it sends is half of a credential.
        site_id: where it stands.
        since: when it was registered.
        longitude, latitude: the middle of its cell (WGS 84, degrees); None: it has no place but its site's.
    """

    id: str
    site_id: UUID
    since: date
    longitude: float | None
    latitude: float | None


@dataclass(frozen=True, slots=True)
class PublishedPurpose:
    """A purpose that a site has declared, as `app.registry.models.SitePurpose` has it, without persons."""

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
        """Whether the operator has declared it, and not only the program with the site."""
        return self.origin == "operator"

    @property
    def known(self) -> Purpose:
        """What the catalogue says of it."""
        return next(each for name, each in PURPOSES_BY_NAME.items() if name == self.purpose)

    def standing(self, now: datetime) -> PurposeStanding:
        """Whether it holds, and why not."""
        if self.in_force:
            return "in_force"
        if self.ends_at is not None and self.ends_at <= now:
            return "ended"
        if self.sensitive and self.approved_at is None:
            return "awaiting_approval"
        return "not_yet"


@dataclass(frozen=True, slots=True)
class AlertRecipient:
    """Whom alerts go to: its name, where the operator gave one, and the kind of the way."""

    site_id: UUID
    kind: str
    recipient: str | None


@dataclass(frozen=True, slots=True)
class AlertCount:
    """Alerts of a severity that fired within 30 and 365 days."""

    site_id: UUID
    severity: str
    month: int
    year: int


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """What was refused at the doors within 30 and 365 days, by code; nothing of it is stored.

    Attributes:
        site_id: None where it was not known whose it was.
        purpose: None where the code has none.
    """

    site_id: UUID | None
    code: str
    purpose: str | None
    month: int
    year: int


@dataclass(frozen=True, slots=True)
class PublishedSite:
    """A site with all that is public of it.

    Attributes:
        operator: the organisation whose it is.
        precision_m: the width of the cells in which places are shown (m).
        longitude, latitude: the middle of its cell (WGS 84, degrees).
        incidents: None where no incidents are recognised.
        address: where it is, as the operator says it.
        licence: of its open data, an SPDX identifier; None: none is named.
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
    alerts: tuple[AlertCount, ...] = ()
    refusals: tuple[RefusalCount, ...] = ()
    incidents: IncidentFigures | None = None
    address: str | None = None
    licence: str | None = None

    @property
    def declared(self) -> tuple[PublishedPurpose, ...]:
        """The purposes that the operator has declared, whether they are in force or not."""
        return tuple(each for each in self.purposes if each.is_declared)

    @property
    def active(self) -> tuple[PublishedPurpose, ...]:
        """Those of them that are in force."""
        return tuple(each for each in self.declared if each.in_force)

    @property
    def open_metrics(self) -> tuple[str, ...]:
        """Metrics whose figures are published, in the order of the catalogue of purposes."""
        return tuple(metric for each in self.active if each.open_data for metric in each.known.metrics)


@dataclass(frozen=True, slots=True)
class RegisterSnapshot:
    """All of it, at one moment."""

    at: datetime
    sites: Mapping[UUID, PublishedSite]
    unattributed: tuple[RefusalCount, ...]


@dataclass(frozen=True, slots=True)
class RegisterChange:
    """One line of the history. `data` has what its kind tells (`migrations/register_history.py`)."""

    id: int
    at: datetime
    site_id: UUID
    site_name: str
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SiteMean:
    """A mean over all boxes of a site: from when on, of how many values."""

    time: datetime
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class IndexValue:
    """What an index gives for the last hour that is over.

    Attributes:
        method: Its name (`GET /v1/indices`).
        title: What people call it.
        start, end: The hour.
        value: In `unit`; None where `reason` says why.
        band: Its class, where it has one.
        coverage: How much of the hour was measured (percent).
        notes: What a reader has to know.
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
        metric: Of the catalogue.
        newest: The mean of the newest values of the site's boxes; `count` of these; None: there is none.
        values: Means of quarters of an hour over all boxes, ascending.
        coverage: How much of the 24 hours was measured, of the boxes that measure it (percent).
        left_out: How many values were left out for their flags.
        spacing_s: How far values may lie apart without a gap between them.
        indices: Of the last hour.
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
    """What was measured of open metrics within the last 24 hours.

    Attributes:
        at: When it was read.
        metrics: Those of which there is a value, in the order of the catalogue of purposes.
        indices: Of the site as a whole, of several metrics each.
    """

    at: datetime
    metrics: tuple[RecentMetric, ...] = ()
    indices: tuple[IndexValue, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenData:
    """What is published of a site.

    Attributes:
        measured: which metrics were measured within 30 days, published or not.
        hours: by metric, the last seven days.
        days: by metric, the last 365.
    """

    measured: frozenset[str]
    hours: Mapping[str, Sequence[SiteMean]]
    days: Mapping[str, Sequence[SiteMean]]
