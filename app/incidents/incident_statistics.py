"""What the incidents of a site came to: how many were any, and how long people took to say so.

For the API, and for whoever publishes it. Incidents whose events were erased count, though nothing else of
them is left. The interval of the precision is Wilson's (`app.acoustics.wilson_interval`).

How sure a share of few things is.

Wilson's score interval (E. B. Wilson, J. Am. Stat. Assoc. 22(158), 1927; recommended for few observations by
Brown, Cai and DasGupta, Statistical Science 16(2), 2001).
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
    """Wilson's score interval of a share; None where there was nothing to see.

    Args:
        successes: how many were.
        trials: of how many.
        z: quantile of the normal distribution; the default is of 95 %.
    """
    if not trials:
        return None
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the ends rounding would leave 0 and 1 by a hair.
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
    (SELECT count(*) FROM boxes WHERE site_id = :site AND deleted_at IS NULL) AS boxes
FROM incidents WHERE site_id = :site AND detected_at >= :first AND detected_at < :last
""")


@dataclass(frozen=True, slots=True)
class IncidentStatistics:
    """Of the incidents that were detected in a range of time.

    Attributes:
        open: nobody has reviewed them.
        confirmed, dismissed: by people.
        withdrawn: parts of others, and those of which nothing is left: they count nowhere else.
        median_review_s: from detection to the first review, s.
        boxes: at the site now.
        days: how long the range is.
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
        """Confirmed of those that were reviewed."""
        reviewed = self.confirmed + self.dismissed
        return self.confirmed / reviewed if reviewed else None

    @property
    def precision_interval(self) -> tuple[float, float] | None:
        """Wilson's, of 95 %."""
        return compute_wilson_interval(self.confirmed, self.confirmed + self.dismissed)

    @property
    def unreviewed_share(self) -> float | None:
        """Open ones of all that were not withdrawn."""
        total = self.open + self.confirmed + self.dismissed
        return self.open / total if total else None

    @property
    def false_alarms_per_box_day(self) -> float | None:
        """Dismissed ones by box and day."""
        return self.dismissed / (self.boxes * self.days) if self.boxes and self.days > 0 else None


async def read_incident_statistics(
    session: ReadSession, site_id: UUID, first: datetime, last: datetime
) -> IncidentStatistics:
    """Count the incidents of a site.

    Args:
        session: which sees the site.
        site_id: which.
        first: detected at this time or later. Of an incident whose events were all erased the day is known.
        last: detected before this time.
    """
    found = await session.execute(_COUNTS, {"site": site_id, "first": first, "last": last})
    return IncidentStatistics(**found.mappings().one(), days=(last - first).total_seconds() / _DAY_S)
