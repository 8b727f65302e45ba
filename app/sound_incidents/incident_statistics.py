"""Computes detection statistics of a site: incidents by state, precision with its interval, review times.

The API and the public register show them. Incidents without any events left (erased) still count.

The interval is Wilson's score interval (E. B. Wilson, J. Am. Stat. Assoc. 22(158), 1927). Brown, Cai and
DasGupta recommend it for few observations (Statistical Science 16(2), 2001).
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from app.platform.db.database import ReadSession

_Z: Final = 1.959963984540054


def compute_wilson_interval(successes: int, trials: int, z: float = _Z) -> tuple[float, float] | None:
    """Compute Wilson's score interval of a share; None without trials.

    Args:
        successes: the number of successes.
        trials: the number of trials.
        z: quantile of the normal distribution; the default is for 95 %.
    """
    if not trials:
        return None
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the ends, rounding would give values slightly off 0 and 1.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == trials else (middle + half) / scale
    return low, high


CONFIDENCE_LEVEL: Final = 0.95
_DAY_S: Final = 86_400.0
_COUNTS: Final = text("""
SELECT count(*) FILTER (WHERE state = 'open') AS open,
    count(*) FILTER (WHERE state = 'confirmed') AS confirmed,
    count(*) FILTER (WHERE state = 'dismissed' AND reviewed_kind = 'user') AS dismissed,
    count(*) FILTER (WHERE reviewed_kind = 'system') AS withdrawn,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY review_s) AS median_review_s,
    (SELECT count(*) FROM registry_boxes WHERE site_id = :site AND deleted_at IS NULL) AS boxes
FROM incidents WHERE site_id = :site AND detected_at >= :first AND detected_at < :last
""")


@dataclass(frozen=True, slots=True)
class IncidentStatistics:
    """Statistics of the incidents that were detected in a time range.

    Attributes:
        open: incidents without a review.
        confirmed, dismissed: incidents that people reviewed.
        withdrawn: superseded or erased incidents; they count nowhere else.
        median_review_s: median time from detection to the first review, s.
        boxes: the number of boxes at the site now.
        days: the length of the range, days.
    """

    open: int
    confirmed: int
    dismissed: int
    withdrawn: int
    median_review_s: float | None
    boxes: int
    days: float

    @property
    def precision(self) -> float | None:
        """The share of confirmed incidents among the reviewed ones."""
        reviewed = self.confirmed + self.dismissed
        return self.confirmed / reviewed if reviewed else None

    @property
    def precision_interval(self) -> tuple[float, float] | None:
        """The 95 % score interval of the precision."""
        return compute_wilson_interval(self.confirmed, self.confirmed + self.dismissed)

    @property
    def unreviewed_share(self) -> float | None:
        """The share of open incidents among those that were not withdrawn."""
        total = self.open + self.confirmed + self.dismissed
        return self.open / total if total else None

    @property
    def false_alarms_per_box_day(self) -> float | None:
        """The number of dismissed incidents per box and day."""
        return self.dismissed / (self.boxes * self.days) if self.boxes and self.days > 0 else None


async def read_incident_statistics(
    session: ReadSession, site_id: UUID, first: datetime, last: datetime
) -> IncidentStatistics:
    """Count the incidents of a site.

    Args:
        session: a session with access to the site.
        site_id: the site.
        first: detected at this time or later. For an erased incident only the day is known.
        last: detected before this time.
    """
    found = await session.execute(_COUNTS, {"site": site_id, "first": first, "last": last})
    return IncidentStatistics(**found.mappings().one(), days=(last - first).total_seconds() / _DAY_S)
