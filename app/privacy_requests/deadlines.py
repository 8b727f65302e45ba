"""Until when a request is to be answered. Pure.

Article 12(3) of the GDPR: within one month of receipt, which may be extended by two further months where
necessary. Months are those of the calendar (Regulation (EEC, Euratom) No 1182/71, article 3(2)(c)): the day
of the same number, or the last one of a month that has none. That a period which ends on a holiday goes on
to the next working day is not counted: an answer is rather asked for a day early.
"""

from calendar import monthrange
from datetime import datetime
from typing import Final

ANSWER_MONTHS: Final = 1
EXTENSION_MONTHS: Final = 2
_MONTHS_OF_A_YEAR: Final = 12


def add_months(instant: datetime, months: int) -> datetime:
    """The same time of day so many months later.

    Args:
        instant: aware.
        months: at least 0.
    """
    year, month = divmod(instant.month - 1 + months, _MONTHS_OF_A_YEAR)
    year, month = instant.year + year, month + 1
    return instant.replace(year=year, month=month, day=min(instant.day, monthrange(year, month)[1]))


def compute_due_at(received_at: datetime, *, extended: bool = False) -> datetime:
    """When the answer to what was received then is due."""
    return add_months(received_at, ANSWER_MONTHS + (EXTENSION_MONTHS if extended else 0))
