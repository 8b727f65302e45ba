"""Defines what a grant lets a third party read: metrics by site, times, the precision of positions. Pure.

`TenantScope.grant` holds the limits of a caller; it is None for callers of the organisation itself. All that
shows measurements applies them by the methods of `TenantScope`: `limit_to_grant` to a sample, or
`check_metrics`, `may_read`, `limit_span` and `limit_to_site` to a query before it runs. Row-level
security limits the caller to the grant's sites besides.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.platform.kernel.position_grid import find_cell_centre


@dataclass(frozen=True, slots=True)
class GrantLimits:
    """What a grant allows to read now.

    Attributes:
        grant_id: the grant.
        metrics: the metrics that it names, whatever the purposes of its sites.
        site_metrics: by site, those of them whose purpose is declared and in force there.
        first: start of the time range, inclusive; None: without a start.
        last: end of the time range, exclusive; None: without an end.
        precision_m: cell size of the grid on which positions are shown (m); None: exact positions.
    """

    grant_id: UUID
    metrics: frozenset[str]
    site_metrics: tuple[tuple[UUID, frozenset[str]], ...]
    first: datetime | None = None
    last: datetime | None = None
    precision_m: int | None = None

    def at_site(self, site_id: UUID) -> frozenset[str]:
        """Return the metrics that may be read at a site."""
        return next((metrics for site, metrics in self.site_metrics if site == site_id), frozenset())

    def covers(self, time: datetime) -> bool:
        """Return whether the time range contains a measurement time."""
        return (self.first is None or time >= self.first) and (self.last is None or time < self.last)

    def place(self, longitude: float, latitude: float) -> tuple[float, float]:
        """Return a position with the granted precision (degrees)."""
        if self.precision_m is None:
            return longitude, latitude
        return find_cell_centre(longitude, latitude, self.precision_m)
