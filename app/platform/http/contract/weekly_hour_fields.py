"""Defines the fields of weekly hours in request bodies: when a rule or a silence is active.

Checks the form of spans; `app.platform.kernel.weekly_hours` defines their meaning.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value

SPANS_LIMIT: Final = 50
_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_MIDNIGHT: Final = "24:00"

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _time(value: str) -> str:
    if _TIME.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_hours", f"{format_rejected_value(value)} is not a time of day such as 06:30"
        )
    return value


def _end(value: str) -> str:
    return value if value == _MIDNIGHT else _time(value)


def _distinct(value: list[Day] | None) -> list[Day] | None:
    if value is not None and len(set(value)) < len(value):
        raise CodedValueError("invalid_hours", "A day is listed more than once")
    return value


class HoursSpan(RequestBody):
    """Hours on some days of the week, in the site's time zone."""

    model_config = ConfigDict(
        serialize_by_alias=True,
        json_schema_extra={
            "examples": [
                {"from": "22:00", "to": "06:00"},
                {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"},
            ]
        },
    )

    days: Annotated[
        list[Day] | None,
        Field(
            min_length=1,
            max_length=7,
            description="Days on which it begins. Default: every day",
            json_schema_extra={"uniqueItems": True},
        ),
        AfterValidator(_distinct),
    ] = None
    from_: Annotated[
        str,
        AfterValidator(_time),
        Field(
            alias="from",
            description="When it begins: HH:MM. If a clock change repeats this time, the first one counts",
            examples=["22:00"],
            json_schema_extra={"pattern": f"^{_TIME.pattern}$"},
        ),
    ]
    to: Annotated[
        str,
        AfterValidator(_end),
        Field(
            description="When it ends: HH:MM, or 24:00. A time before `from` is on the next day; the same "
            "time as `from` means 24 hours. If a clock change repeats this time, the second one counts",
            examples=["06:00"],
            json_schema_extra={"pattern": f"^({_TIME.pattern}|{_MIDNIGHT})$"},
        ),
    ]

    def stored(self) -> dict[str, Any]:
        """Return the span as it is stored, for `app.platform.kernel.weekly_hours.make_weekly_hours`."""
        return self.model_dump(by_alias=True, exclude_none=True)


HoursSpans = Annotated[list[HoursSpan], Field(min_length=1, max_length=SPANS_LIMIT)]
"""Spans in the site's time zone. Spans that overlap count as one."""
