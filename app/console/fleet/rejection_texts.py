"""Says in words why a message was refused, and what mends the cause. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from app.console.framework.page_translation import mark_text


class RejectionText(NamedTuple):
    """The words for a rejection code.

    Attributes:
        title: What was wrong.
        advice: What to do.
    """

    title: str
    advice: str


_BOX: Final = mark_text("Mend the program of the box: a replay of this message cannot succeed.")
_SMALLER: Final = mark_text("Let the box send smaller messages. This one cannot be replayed.")
_CLOCK: Final = mark_text("Set the clock of the box, or its time zone. Replay what should be stored.")
_WAIT: Final = mark_text("Replay it. If it is refused again, ask the operator of the installation.")

REJECTION_TEXTS: Final[Mapping[str, RejectionText]] = MappingProxyType(
    {
        "invalid_encoding": RejectionText(mark_text("The text is not UTF-8"), _BOX),
        "empty_body": RejectionText(mark_text("The message is empty"), _BOX),
        "invalid_json": RejectionText(mark_text("The message is not valid JSON"), _BOX),
        "invalid_cbor": RejectionText(mark_text("The message is not valid CBOR"), _BOX),
        "invalid_gzip": RejectionText(mark_text("The message is not valid gzip"), _BOX),
        "number_out_of_range": RejectionText(mark_text("A number is too large to be read"), _BOX),
        "nesting_too_deep": RejectionText(mark_text("The document is nested too deeply"), _BOX),
        "lone_surrogate": RejectionText(mark_text("A text contains half of a character"), _BOX),
        "duplicate_key": RejectionText(mark_text("A key occurs twice in one object"), _BOX),
        "body_too_large": RejectionText(mark_text("The message is too large"), _SMALLER),
        "too_many_samples": RejectionText(mark_text("The message contains too many samples"), _SMALLER),
        "too_many_candidates": RejectionText(mark_text("The event has too many candidates"), _SMALLER),
        "text_too_long": RejectionText(mark_text("A text is too long"), _SMALLER),
        "unsupported_media_type": RejectionText(
            mark_text("The content type is not supported"),
            mark_text("Send JSON, CBOR or SenML, and name the type in Content-Type or in the topic."),
        ),
        "unsupported_encoding": RejectionText(
            mark_text("The content encoding is not supported"),
            mark_text("Send gzip or nothing, and name it in Content-Encoding or in the topic."),
        ),
        "body_too_slow": RejectionText(mark_text("The body did not arrive in time"), _WAIT),
        "unknown_box": RejectionText(
            mark_text("The box does not exist"),
            mark_text("Create the box with this id, then replay its messages: they are stored."),
        ),
        "nul_in_text": RejectionText(mark_text("A text contains a NUL character"), _BOX),
        "invalid_text": RejectionText(
            mark_text("A text is empty or contains characters that are not allowed"), _BOX
        ),
        "wrong_type": RejectionText(mark_text("A value has the wrong type"), _BOX),
        "missing_field": RejectionText(mark_text("A required field is missing"), _BOX),
        "unknown_field": RejectionText(mark_text("A field does not exist"), _BOX),
        "unknown_metric": RejectionText(
            mark_text("A metric is not in the catalogue"),
            mark_text("Use the name of the catalogue. If the catalogue has the metric by now, replay."),
        ),
        "value_out_of_bounds": RejectionText(
            mark_text("A value is outside its bounds"),
            mark_text("Check the sensor and the unit that the box sends."),
        ),
        "wrong_unit": RejectionText(
            mark_text("A unit does not fit the metric"),
            mark_text("Let the box send one of the units that the catalogue names for the metric."),
        ),
        "integer_too_large": RejectionText(mark_text("An integer is too large"), _BOX),
        "invalid_time": RejectionText(mark_text("A time cannot be read"), _BOX),
        "time_without_zone": RejectionText(mark_text("A time has no time zone"), _BOX),
        "time_out_of_range": RejectionText(mark_text("A time is out of range"), _CLOCK),
        "time_in_future": RejectionText(mark_text("A time is too far in the future"), _CLOCK),
        "time_too_old": RejectionText(
            mark_text("A time is older than the site stores data"),
            mark_text("Store data longer at the site, then replay. Else delete the message."),
        ),
        "erased_range": RejectionText(
            mark_text("The data of this time were erased"),
            mark_text("They are not accepted again. Delete the message."),
        ),
        "invalid_duration": RejectionText(mark_text("A duration cannot be read"), _BOX),
        "empty_batch": RejectionText(mark_text("The message contains no samples"), _BOX),
        "empty_values": RejectionText(mark_text("A sample contains no values"), _BOX),
        "invalid_box_id": RejectionText(mark_text("A box id is not valid"), _BOX),
        "unknown_event_type": RejectionText(mark_text("An event's type is not valid"), _BOX),
        "unknown_state": RejectionText(mark_text("A box's state does not exist"), _BOX),
        "quota_exceeded": RejectionText(
            mark_text("The organisation has reached its daily quota of samples"),
            mark_text("Raise the quota or wait until tomorrow (UTC), then replay."),
        ),
        "retained_message": RejectionText(
            mark_text("A retained message is no measurement"),
            mark_text("Let the box publish samples without the retain flag, and clear the retained message."),
        ),
        "topic": RejectionText(
            mark_text("The topic does not belong to a box"),
            mark_text("Publish on vigie/v1/BOX/telemetry, with the id of the box."),
        ),
        "undecodable": RejectionText(mark_text("Vigie failed to decode it"), _WAIT),
        "storage_refused": RejectionText(mark_text("The database cannot store it"), _WAIT),
        "malformed_packet": RejectionText(mark_text("An MQTT packet cannot be read"), _BOX),
    }
)
"""The words of each code that a quarantined message can have."""
_OTHER: Final = RejectionText(mark_text("The message was refused"), _WAIT)


def get_rejection_text(code: str) -> RejectionText:
    """Return the words of a code; general ones for a code that has none."""
    return REJECTION_TEXTS.get(code, _OTHER)
