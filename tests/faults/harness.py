"""Sizes of faults, what came of them, and the table of it."""

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = ("fault", "published", "stored", "lost", "twice", "recovery s")


@dataclass(frozen=True)
class FaultSize:
    """How much of a fault is injected: the short form for every run of the tests, or the long one."""

    long: bool

    def of[T](self, short: T, long: T) -> T:
        return long if self.long else short


@dataclass(frozen=True)
class FaultOutcome:
    """What came of a fault.

    `lost` is what was promised and is not there; `twice` what is there, or was counted, more often than once.
    `recovery_s` is from the end of the fault until all is there.
    """

    published: int
    stored: int
    lost: int
    twice: int
    recovery_s: float


class FaultReport:
    """The rows of the table: each is checked as it is added."""

    def __init__(self) -> None:
        self.rows: dict[str, FaultOutcome] = {}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """A line below the table."""
        self.notes.append(text)

    def add(self, fault: str, outcome: FaultOutcome) -> None:
        self.rows[fault] = outcome
        assert (outcome.lost, outcome.twice) == (0, 0), (fault, outcome)

    def lines(self) -> list[str]:
        """The table as text, the faults in the order of their numbers."""
        body = [
            (
                fault,
                f"{row.published:,}",
                f"{row.stored:,}",
                f"{row.lost:,}",
                f"{row.twice:,}",
                f"{row.recovery_s:.1f}",
            )
            for fault, row in sorted(self.rows.items())
        ]
        widths = [max(len(line[place]) for line in (HEADER, *body)) for place in range(len(HEADER))]
        table = [_line(line, widths) for line in (HEADER, tuple("-" * width for width in widths), *body)]
        return [*table, *self.notes]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return " | ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)])
