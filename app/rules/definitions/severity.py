"""Defines the severities of alerts and their order."""

from collections.abc import Iterable
from typing import Final, Literal

Severity = Literal["info", "warning", "critical"]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the lowest to the highest."""


def rank_severity(severity: str) -> int:
    """Return the rank of a severity: 0 for the lowest (ValueError for an unknown one)."""
    return SEVERITIES.index(severity)


def find_highest_severity(severities: Iterable[str]) -> Severity:
    """Return the highest of some severities (ValueError if there are none, or one is unknown)."""
    return SEVERITIES[max(map(rank_severity, severities))]
