"""What the register shows of acoustic incidents, and of how often they were real. Pure."""

from dataclasses import dataclass
from uuid import UUID

from app.acoustics.wilson_interval import compute_wilson_interval

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
