"""Decides which measurements a site may store, by its declared purposes and the time. Pure.

A value without a purpose in force is refused with a rejection code. The declarations and the time are
arguments.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.catalogue.metrics import COLUMNS
from app.catalogue.purposes import PURPOSES_BY_NAME, SAMPLE_PURPOSES, Purpose, PurposeName

type PurposeRefusal = tuple[PurposeName, str]
"""A purpose, and the rejection code of its values."""

_NEVER: Final = 2**63
_DETAILS: Final[Mapping[str, str]] = {
    "purpose_not_declared": "The site has not declared the purpose {} for this time. Declare it, then send "
    "the data again.",
    "purpose_not_approved": "The purpose {} is declared at the site, but not approved. Data are accepted "
    "after its approval.",
    "purpose_ended": "The purpose {} has ended at the site. Stop sending data for it.",
}


def describe_purpose_refusal(code: str, purpose: str) -> str:
    """Describe what to change, without any of the refused content."""
    return _DETAILS[code].format(purpose)


class PurposePolicy(NamedTuple):
    """The declaration of one purpose at a site, as far as ingest needs it.

    Attributes:
        starts_us, ends_us: The time in which it is in force (µs since the epoch); None: unlimited.
        approved: Whether a second person has approved it.
    """

    starts_us: int | None = None
    ends_us: int | None = None
    approved: bool = False

    def refusal(self, time_us: int, now_us: int, *, sensitive: bool) -> str | None:
        """Compute the rejection code of a measurement; None if it may be stored.

        A measurement before the start of the purpose is refused. After its end every measurement is refused,
        whatever its measurement time.
        """
        if sensitive and not self.approved:
            return "purpose_not_approved"
        if self.ends_us is not None and self.ends_us <= now_us:
            return "purpose_ended"
        if self.starts_us is not None and self.starts_us > min(time_us, now_us):
            return "purpose_not_declared"
        return None

    def first_refusal_us(self, *, sensitive: bool) -> int:
        """Compute the earliest time at which data of this purpose may be refused (µs since the epoch)."""
        if self.starts_us is not None or (sensitive and not self.approved):
            return 0
        return _NEVER if self.ends_us is None else self.ends_us


def _columns(purpose: Purpose) -> tuple[int, ...]:
    return tuple(map(COLUMNS.index, purpose.metrics))


_METRICS: Final = tuple((purpose.name, _columns(purpose), purpose.sensitive) for purpose in SAMPLE_PURPOSES)


class SitePurposePolicies:
    """The purpose policies of one site. It is immutable: another declaration makes a new one.

    Attributes:
        permits: The policies by purpose. A missing purpose is not declared.
        first_refusal_us: The earliest time at which a value may be refused. Before it, all are accepted.
    """

    __slots__ = ("_bounded", "first_refusal_us", "permits")

    def __init__(self, permits: Mapping[str, PurposePolicy]) -> None:
        self.permits = permits
        self._bounded: list[tuple[PurposeName, tuple[int, ...]]] = []
        self.first_refusal_us = _NEVER
        for name, columns, sensitive in _METRICS:
            permit = permits.get(name)
            first = 0 if permit is None else permit.first_refusal_us(sensitive=sensitive)
            if first < _NEVER:
                self._bounded.append((name, columns))
                self.first_refusal_us = min(self.first_refusal_us, first)

    def refusal(self, purpose: PurposeName, time_us: int, now_us: int) -> str | None:
        """Compute the rejection code of a measurement for a purpose; None if it may be stored.

        Args:
            purpose: The purpose.
            time_us: The measurement time (µs since the epoch).
            now_us: The time of storage (µs since the epoch).
        """
        permit = self.permits.get(purpose)
        if permit is None:
            return "purpose_not_declared"
        return permit.refusal(time_us, now_us, sensitive=PURPOSES_BY_NAME[purpose].sensitive)

    def sift(
        self, values: tuple[float | None, ...], time_us: int, now_us: int
    ) -> tuple[tuple[float | None, ...], list[PurposeRefusal]]:
        """Remove the values of a sample that must not be stored.

        Args:
            values: A value or None for each metric, in the order of the catalogue.
            time_us: The measurement time (µs since the epoch).
            now_us: The time of storage (µs since the epoch).

        Returns:
            The remaining values, and the refused purposes in the order of the catalogue.
        """
        refused: list[PurposeRefusal] = []
        remaining: list[float | None] | None = None
        for name, columns in self._bounded:
            if all(values[index] is None for index in columns):
                continue
            code = self.refusal(name, time_us, now_us)
            if code is not None:
                refused.append((name, code))
                remaining = list(values) if remaining is None else remaining
                for index in columns:
                    remaining[index] = None
        return values if remaining is None else tuple(remaining), refused


NOTHING_DECLARED: Final = SitePurposePolicies({})
"""The policies of a site without declarations: all its data are refused."""
