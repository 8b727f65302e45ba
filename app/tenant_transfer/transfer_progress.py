"""Reports the progress of an export or import: rows, speed and the remaining time."""

import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 2.0
"""Time between two lines (seconds)."""

_ESTIMATED_SHARE: Final = 0.1  # of all rows: from then on the remaining time is estimated


class TransferProgress:
    """Counts rows, and writes a line of progress every two seconds.

    Attributes:
        rows: the rows so far.

    Args:
        write: writes a line.
        total: the rows in all.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self, write: Callable[[str], None], total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._total = total
        self._clock = clock
        self._began = self._reported_at = clock()
        self.rows = 0

    def add(self, rows: int, table: str) -> None:
        """Count rows of a table."""
        self.rows += rows
        now = self._clock()
        if now - self._reported_at < EVERY_S:
            return
        self._reported_at = now
        speed = self.rows / max(now - self._began, 1e-9)
        line = f"{table}: {self.rows:,} of {self._total:,} rows, {speed:,.0f} rows/s"
        # The small tables, which come first, are slower than the samples: an estimate would be far too long.
        if speed and self.rows >= self._total * _ESTIMATED_SHARE:
            line += f", {_format_time(max(self._total - self.rows, 0) / speed)} left"
        self._write(line)


def _format_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
