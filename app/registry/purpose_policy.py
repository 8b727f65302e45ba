"""What a site may take at a moment, by the purposes that it has declared. Pure.

Owns the judgement: which purpose holds when, and with which code that is refused for which none does. It is
an argument what is declared and what time it is.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.catalogue.metrics import COLUMNS
from app.catalogue.purposes import PURPOSES_BY_NAME, SAMPLE_PURPOSES, Purpose, PurposeName

type PurposeRefusal = tuple[PurposeName, str]
"""A purpose, and the code for which its values are refused."""

_NEVER: Final = 2**63
_DETAILS: Final[Mapping[str, str]] = {
    "purpose_not_declared": "The site has not declared the purpose {} for then: declare it, then send anew.",
    "purpose_not_approved": "The purpose {} is declared at the site, and not approved: data are taken "
    "from its approval on.",
    "purpose_ended": "The purpose {} has ended at the site: send no more of it.",
}


def describe_purpose_refusal(code: str, purpose: str) -> str:
    """What to change, for people; of what was sent it says nothing."""
    return _DETAILS[code].format(purpose)


class PurposePolicy(NamedTuple):
    """What a site has declared of one purpose.

    Attributes:
        starts_us, ends_us: from when on and until when it holds (µs since the epoch); None: without limit.
        approved: whether a second person has approved it.
    """

    starts_us: int | None = None
    ends_us: int | None = None
    approved: bool = False

    def refusal(self, time_us: int, now_us: int, *, sensitive: bool) -> str | None:
        """Why what was measured then is refused now; None where it may be taken.

        Nothing is taken that was measured before there was a basis for it, and nothing once that has ended,
        whenever it was measured.
        """
        if sensitive and not self.approved:
            return "purpose_not_approved"
        if self.ends_us is not None and self.ends_us <= now_us:
            return "purpose_ended"
        if self.starts_us is not None and self.starts_us > min(time_us, now_us):
            return "purpose_not_declared"
        return None

    def first_refusal_us(self, *, sensitive: bool) -> int:
        """From when on something of it may be refused."""
        if self.starts_us is not None or (sensitive and not self.approved):
            return 0
        return _NEVER if self.ends_us is None else self.ends_us


def _columns(purpose: Purpose) -> tuple[int, ...]:
    return tuple(map(COLUMNS.index, purpose.metrics))


_METRICS: Final = tuple((purpose.name, _columns(purpose), purpose.sensitive) for purpose in SAMPLE_PURPOSES)


class SitePurposePolicies:
    """What one site may take. Nobody changes it: a site that declares something else has a new one.

    Attributes:
        permits: by purpose; what is not here is not declared.
        first_refusal_us: from when on a value of some metric may be refused; before it all are taken.
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
        """Why what was measured for a purpose is refused; None where it may be taken.

        Args:
            purpose: which.
            time_us: when it was measured (µs since the epoch).
            now_us: when it is to be stored.
        """
        permit = self.permits.get(purpose)
        if permit is None:
            return "purpose_not_declared"
        return permit.refusal(time_us, now_us, sensitive=PURPOSES_BY_NAME[purpose].sensitive)

    def sift(
        self, values: tuple[float | None, ...], time_us: int, now_us: int
    ) -> tuple[tuple[float | None, ...], list[PurposeRefusal]]:
        """Take out of a sample what may not be stored.

        Args:
            values: a value or None for each metric, in the order of the catalogue.
            time_us: when it was measured (µs since the epoch).
            now_us: when it is to be stored.

        Returns:
            What is left, and for which purposes values were taken out; these are in the catalogue's order.
        """
        refused: list[PurposeRefusal] = []
        left: list[float | None] | None = None
        for name, columns in self._bounded:
            if all(values[place] is None for place in columns):
                continue
            code = self.refusal(name, time_us, now_us)
            if code is not None:
                refused.append((name, code))
                left = list(values) if left is None else left
                for place in columns:
                    left[place] = None
        return values if left is None else tuple(left), refused


NOTHING_DECLARED: Final = SitePurposePolicies({})
"""Of a site that has declared nothing: it may take nothing."""
