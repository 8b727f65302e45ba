"""The fields that endpoints of every kind have in common: webhooks and channels. Shapes only.

Owns what may be subscribed to, how events are put together, and which deliveries there are. What one kind
alone has stands with that kind.
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from app.notifications.delivery.grouping import GROUP_EVENT, LABELS
from app.notifications.events.event_types import ALL_EVENTS, EVENTS
from app.platform.http.contract.fields import DURATION, Identifier, Name, RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

DEFAULT_EVENTS: Final = ("alert.firing", "alert.resolved")
"""What an endpoint subscribes to that does not say."""

SEVERE_EVENTS: Final = ("alert.firing", "alert.escalated", "alert.resolved")
"""The same where a `min_severity` is given: an alert may come to be so severe after it fired."""

_SITES_LIMIT: Final = 1000
_LONGEST_WAIT_S: Final = 15 * 60
_LONGEST_INTERVAL_S: Final = 24 * 3600

type State = Literal["pending", "delivered", "failed"]
"""A delivery's state."""

type Kind = Literal[
    "webhook", "email", "mqtt", "slack", "teams", "discord", "pagerduty", "ntfy", "alertmanager"
]
"""An endpoint's kind."""

type Format = Literal["native", "cloudevents", "alertmanager"]
"""What a delivery's body is written in."""


RECIPIENT: Final = Field(
    description="Who gets these alerts, as the public register names it; null: it says that its operator has "
    "named nobody. Addresses are never shown there",
    examples=["Police municipale, Ville de Toulouse"],
)
"""Whom the public register names, for the field of a model."""

Recipient = Annotated[Name | None, RECIPIENT]
"""Whom the public register names as having an endpoint's alerts."""


def _check_events(events: list[str]) -> list[str]:
    for event in events:
        if event != ALL_EVENTS and event not in EVENTS:
            raise CodedValueError(
                "unknown_event_type",
                f"{format_rejected_value(event)} is not an event: {ALL_EVENTS}, {', '.join(EVENTS)}",
            )
    return list(dict.fromkeys(events))


def choose_default_events(min_severity: str | None) -> list[str]:
    """What is subscribed to where nothing is said, given the least severity."""
    return list(DEFAULT_EVENTS if min_severity is None else SEVERE_EVENTS)


EVENTS_DESCRIPTION: Final = (
    f"Which events are sent: `{ALL_EVENTS}` for all, also those to come, or some of: {', '.join(EVENTS)}"
)
"""What `events` means, for the field of a model."""

type EventName = Annotated[str, Field(json_schema_extra={"enum": [ALL_EVENTS, *EVENTS]})]
"""What `events` may name."""

Events = Annotated[
    list[EventName],
    Field(
        min_length=1,
        max_length=32,
        description=EVENTS_DESCRIPTION,
    ),
    AfterValidator(_check_events),
]
Sites = Annotated[
    list[Identifier],
    Field(
        min_length=1,
        max_length=_SITES_LIMIT,
        description="Only events of these sites; null: of all, and those of no site",
    ),
    AfterValidator(lambda ids: list(dict.fromkeys(ids))),
]
MinSeverity = Annotated[
    Literal["info", "warning", "critical"] | None,
    Field(
        description="Only alerts that are, or were, at least so severe; null: all. Where it is given and "
        f"`events` is left out, these are {', '.join(SEVERE_EVENTS)}",
        examples=["warning"],
    ),
]
GROUPING_EXAMPLE: Final[JsonDict] = {"by": ["site", "rule"], "wait": "PT10S", "interval": "PT5M"}


def build_duration_validator(
    longest_s: float, called: str, *, shortest_s: float = 0, shortest_called: str = "nothing"
) -> AfterValidator:
    """A check that a text is an ISO 8601 duration within these seconds (`invalid_duration`).

    Args:
        longest_s: The longest one.
        called: What that is called in the error.
        shortest_s: The shortest one.
        shortest_called: What that is called in the error.
    """

    def check(value: str) -> str:
        try:
            seconds = parse_iso_duration(value)
        except RejectedError as error:
            raise CodedValueError(error.code, error.detail) from None
        if seconds > longest_s:
            raise CodedValueError(
                "invalid_duration", f"{format_rejected_value(value)} is longer than {called}"
            )
        if seconds < shortest_s:
            raise CodedValueError(
                "invalid_duration", f"{format_rejected_value(value)} is shorter than {shortest_called}"
            )
        return value

    return AfterValidator(check)


class Grouping(RequestBody):
    """How the events of alerts are put together in one notification."""

    model_config = ConfigDict(json_schema_extra={"examples": [GROUPING_EXAMPLE]})

    by: Annotated[
        list[Literal["site", "rule", "severity", "box"]],
        Field(
            min_length=1,
            max_length=len(LABELS),
            description="Events for which all of these are the same go together",
        ),
        AfterValidator(lambda names: list(dict.fromkeys(names))),
    ]
    wait: Annotated[
        str,
        build_duration_validator(_LONGEST_WAIT_S, "15 minutes"),
        DURATION,
        Field(description="From the first event to the notification: ISO 8601, up to PT15M"),
    ] = "PT10S"
    interval: Annotated[
        str,
        build_duration_validator(_LONGEST_INTERVAL_S, "a day"),
        DURATION,
        Field(description="From one notification of a group to its next, at least: ISO 8601, up to P1D"),
    ] = "PT5M"


GROUPING: Final = Field(
    description=f"Null: each event on its own. Else those of alerts are sent together, as `{GROUP_EVENT}`"
)
"""What `grouping` means, for the field of a model."""
