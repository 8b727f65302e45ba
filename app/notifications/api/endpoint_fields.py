"""Defines the fields that webhooks and channels share: subscriptions, grouping, recipients and formats."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from app.notifications.delivery.alert_grouping import GROUP_EVENT, LABELS
from app.notifications.events.event_types import ALL_EVENTS, EVENTS
from app.platform.http.contract.fields import DURATION, Identifier, Name, RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

DEFAULT_EVENTS: Final = ("alert.firing", "alert.resolved")
"""The default subscription of an endpoint."""

SEVERE_EVENTS: Final = ("alert.firing", "alert.escalated", "alert.resolved")
"""The default subscription with a `min_severity`: an alert may reach that severity after it fired."""

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
"""The format of a delivery's body."""


RECIPIENT: Final = Field(
    description="The recipient of these alerts that the public register names; null: the register says that "
    "the operator named none. The register never shows addresses",
    examples=["Police municipale, Ville de Toulouse"],
)
"""The description of `recipient`, for the field of a model."""

Recipient = Annotated[Name | None, RECIPIENT]
"""The recipient of an endpoint's alerts that the public register names."""


def _check_events(events: list[str]) -> list[str]:
    for event in events:
        if event != ALL_EVENTS and event not in EVENTS:
            raise CodedValueError(
                "unknown_event_type",
                f"{format_rejected_value(event)} is not an event. Use any of: {ALL_EVENTS}, "
                f"{', '.join(EVENTS)}",
            )
    return list(dict.fromkeys(events))


def choose_default_events(min_severity: str | None) -> list[str]:
    """Return the default subscription for a `min_severity`."""
    return list(DEFAULT_EVENTS if min_severity is None else SEVERE_EVENTS)


EVENTS_DESCRIPTION: Final = (
    f"The events to send: `{ALL_EVENTS}` for all, also future types, or any of: {', '.join(EVENTS)}"
)
"""The description of `events`, for the field of a model."""

type EventName = Annotated[str, Field(json_schema_extra={"enum": [ALL_EVENTS, *EVENTS]})]
"""A value of `events`."""

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
        description="Only events of these sites; null: events of all sites, and those without a site",
    ),
    AfterValidator(lambda ids: list(dict.fromkeys(ids))),
]
MinSeverity = Annotated[
    Literal["info", "warning", "critical"] | None,
    Field(
        description="Only alerts that have or had at least this severity; null: all alerts. With it, the "
        f"default of `events` is {', '.join(SEVERE_EVENTS)}",
        examples=["warning"],
    ),
]
GROUPING_EXAMPLE: Final[JsonDict] = {"by": ["site", "rule"], "wait": "PT10S", "interval": "PT5M"}


def build_duration_validator(
    longest_s: float, called: str, *, shortest_s: float = 0, shortest_called: str = "nothing"
) -> AfterValidator:
    """Build a validator of ISO 8601 durations within bounds (`invalid_duration`).

    Args:
        longest_s: The longest duration, in seconds.
        called: The words for it in the error.
        shortest_s: The shortest duration, in seconds.
        shortest_called: The words for it in the error.
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
    """How events of alerts are grouped into one notification."""

    model_config = ConfigDict(json_schema_extra={"examples": [GROUPING_EXAMPLE]})

    by: Annotated[
        list[Literal["site", "rule", "severity", "box"]],
        Field(
            min_length=1,
            max_length=len(LABELS),
            description="Events that agree in all of these are sent together",
        ),
        AfterValidator(lambda names: list(dict.fromkeys(names))),
    ]
    wait: Annotated[
        str,
        build_duration_validator(_LONGEST_WAIT_S, "15 minutes"),
        DURATION,
        Field(description="Wait from a group's first event to its notification: ISO 8601, up to PT15M"),
    ] = "PT10S"
    interval: Annotated[
        str,
        build_duration_validator(_LONGEST_INTERVAL_S, "a day"),
        DURATION,
        Field(description="Least time between two notifications of a group: ISO 8601, up to P1D"),
    ] = "PT5M"


GROUPING: Final = Field(
    description=f"Null: each event is sent on its own. Otherwise events of alerts are sent together, as "
    f"`{GROUP_EVENT}`"
)
"""The description of `grouping`, for the field of a model."""
