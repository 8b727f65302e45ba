"""What the register shows of acoustic incidents, and where it gets it: a port. Pure.

The register counts nothing itself: whoever recognises incidents says how many, and how often it was right.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class IncidentFigures:
    """Of one site.

    Attributes:
        month, year: incidents within 30 and 365 days.
        confirmed, dismissed: of those of the year, what people found.
        precision: the share of reviewed incidents that were confirmed (of one); None: none was reviewed.
        false_alarms_per_year: dismissed incidents within 365 days, in proportion to the days observed.
    """

    month: int
    year: int
    confirmed: int
    dismissed: int
    precision: float | None
    false_alarms_per_year: float | None


type ReadIncidents = Callable[[], Awaitable[Mapping[UUID, IncidentFigures] | None]]
"""The figures of all sites by id; None: no incidents are recognised here."""


async def no_incidents() -> None:
    """What an installation says that recognises none."""
