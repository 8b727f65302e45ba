"""Says how soon the boxes of a lost machine were connected again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

SHARES: Final = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Returns:
    """The reconnection of the boxes of a lost machine.

    Attributes:
        lost: Connections that ended.
        seconds: Seconds from the death of the machine until a share of them was connected again; None: not
            within the time of the rehearsal.
        failed: Attempts to connect that failed.
        locked_out: Boxes without a connection at the end.
    """

    lost: int
    seconds: dict[float, float | None]
    failed: int
    locked_out: int

    def __str__(self) -> str:
        parts = [
            f"{share:.0%} after {'never' if at is None else f'{at:.1f} s'}"
            for share, at in self.seconds.items()
        ]
        return (
            f"{self.lost:,} lost: {', '.join(parts)}; {self.failed:,} attempts failed;"
            f" {self.locked_out} locked out"
        )


def find_quantiles(
    history: Sequence[tuple[float, int]], count: int, shares: Sequence[float] = SHARES
) -> dict[float, float | None]:
    """Return when a share of `count` was reached; None if it was not.

    Args:
        history: Times, each with a number that never decreases.
        count: The whole.
        shares: The shares.
    """
    return {
        share: next((at for at, number in history if number >= ceil(share * count)), None) for share in shares
    }
