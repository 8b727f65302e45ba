"""How grave an alert is: the severities, in their order."""

from collections.abc import Iterable
from typing import Final, Literal

Severity = Literal["info", "warning", "critical"]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the lightest to the gravest."""


def rank_severity(severity: str) -> int:
    """Tell how grave a severity is: 0 for the lightest (ValueError for none of SEVERITIES)."""
    return SEVERITIES.index(severity)


def find_highest_severity(severities: Iterable[str]) -> Severity:
    """Give the gravest of some severities (ValueError where there are none, or one is none of SEVERITIES)."""
    return SEVERITIES[max(map(rank_severity, severities))]
