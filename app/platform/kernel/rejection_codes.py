"""The table of reason codes: why an input was refused, the same at both doors.

Owns the codes (stable: clients and dashboards match them), their REST status and their titles, and the two
shapes that carry one: `InputRejection` (data) and `RejectedError` (raised by pure parsers). Must not know
HTTP, MQTT or a database.

A 400 says that the document cannot be read, and covers all of it; a 413 or 422 says what in a readable
document cannot be taken, and covers no more than the sample it was found in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from app.platform.content_policy.content_scanner import examine_name

_DETAIL_LIMIT: Final = 400
_SHOWN_LIMIT: Final = 40
# A backslash of the text's own is written twice.
_ESCAPES: Final = re.compile(r"\\\\|\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")
_EXAMINED: Final = 4_096


class RejectionReason(NamedTuple):
    """A reason code's REST status and its title, which never changes from one refusal to the next."""

    status: int
    title: str


REJECTION_REASONS: Final[Mapping[str, RejectionReason]] = MappingProxyType(
    {
        # The document cannot be read.
        "invalid_encoding": RejectionReason(400, "The text is not UTF-8, or begins with a byte-order mark"),
        "empty_body": RejectionReason(400, "There is nothing to read"),
        "invalid_json": RejectionReason(400, "This is not one JSON document"),
        "invalid_cbor": RejectionReason(400, "This is not one CBOR document"),
        "invalid_gzip": RejectionReason(400, "This is not one gzip member"),
        "number_out_of_range": RejectionReason(400, "A number is too large to be read"),
        "nesting_too_deep": RejectionReason(400, "The document is nested too deeply"),
        "lone_surrogate": RejectionReason(400, "A text holds half of a surrogate pair"),
        "duplicate_key": RejectionReason(400, "A key occurs twice in one object"),
        # It is too much.
        "body_too_large": RejectionReason(413, "The body is too large"),
        "too_many_samples": RejectionReason(413, "There are too many samples in one message"),
        "too_many_candidates": RejectionReason(413, "There are too many candidates in one event"),
        "text_too_long": RejectionReason(413, "A text is too long"),
        # It is in another format.
        "unsupported_media_type": RejectionReason(415, "The content type is not supported"),
        "unsupported_encoding": RejectionReason(415, "The content encoding is not supported"),
        # It does not come.
        "body_too_slow": RejectionReason(408, "The body did not arrive in time"),
        # It concerns nothing that is known.
        "unknown_box": RejectionReason(404, "No such box"),
        # It can be read, but not taken.
        "nul_in_text": RejectionReason(422, "A text holds a NUL character"),
        "invalid_text": RejectionReason(422, "A text is empty or holds characters that are not allowed"),
        "wrong_type": RejectionReason(422, "A value has the wrong type"),
        "missing_field": RejectionReason(422, "A required field is missing"),
        "unknown_field": RejectionReason(422, "A field is not known"),
        "unknown_metric": RejectionReason(422, "A metric is not in the catalogue"),
        "value_out_of_bounds": RejectionReason(422, "A value is outside its bounds"),
        "wrong_unit": RejectionReason(422, "A unit does not measure what the metric does"),
        "integer_too_large": RejectionReason(422, "An integer is past 2^53"),
        "invalid_time": RejectionReason(422, "A time is not RFC 3339"),
        "time_without_zone": RejectionReason(422, "A time has no zone"),
        "time_out_of_range": RejectionReason(422, "A time is out of range"),
        "time_in_future": RejectionReason(422, "A time is too far in the future"),
        "time_too_old": RejectionReason(422, "A time is older than the site's retention"),
        "erased_range": RejectionReason(422, "What was measured then was erased, and is not taken again"),
        "invalid_duration": RejectionReason(422, "A duration is not ISO 8601, or too long"),
        "empty_batch": RejectionReason(422, "There are no samples in the message"),
        "empty_values": RejectionReason(422, "There are no values in the sample"),
        "invalid_box_id": RejectionReason(422, "A box id is not valid"),
        "unknown_event_type": RejectionReason(422, "An event's type is not valid"),
        "unknown_state": RejectionReason(422, "A box's state is not known"),
        # It has no basis, or may never enter.
        "purpose_not_declared": RejectionReason(403, "The site has not declared the purpose of this"),
        "purpose_not_approved": RejectionReason(
            403, "The site's declaration of this purpose is not approved"
        ),
        "purpose_ended": RejectionReason(403, "The purpose of this has ended at the site"),
        "forbidden_content": RejectionReason(422, "It holds what may never enter"),
        "camera_coupling": RejectionReason(422, "A camera is not to be coupled with what was heard"),
        # It is more than the organisation may send.
        "quota_exceeded": RejectionReason(
            429, "The organisation has stored as many samples as it may in a day"
        ),
        # Only the broker's door can see these; the status is what the same would deserve by REST.
        "retained_message": RejectionReason(422, "A retained message is not a measurement of now"),
        "topic": RejectionReason(422, "The topic is not one of a box"),
        "undecodable": RejectionReason(422, "Vigie failed to read it, which is a fault of Vigie"),
        "storage_refused": RejectionReason(422, "The database cannot hold it"),
        "malformed_packet": RejectionReason(400, "An MQTT packet cannot be read"),
    }
)
"""Every reason code. Codes are added, never renamed."""

NEVER_STORED_CODES: Final = frozenset(
    {
        *("purpose_not_declared", "purpose_not_approved", "purpose_ended"),
        *("forbidden_content", "camera_coupling", "unknown_event_type"),
    }
)
"""What is refused for one of these is stored nowhere: it is counted, and its sender is told.

No entry of the quarantine, no payload, no line in a log. Their details name nothing that the sender wrote: a
purpose or a type of event is named as Vigie's own catalogue has it.
"""


def get_rejection_status(code: str) -> int:
    """Return the REST status of a reason code (KeyError for a code that is not in the table)."""
    return REJECTION_REASONS[code].status


def get_rejection_title(code: str) -> str:
    """Return the title of a reason code (KeyError for a code that is not in the table)."""
    return REJECTION_REASONS[code].title


@dataclass(frozen=True, slots=True)
class InputRejection:
    """Something that was refused.

    Attributes:
        code: A key of `REJECTION_REASONS`.
        detail: What to change, naming the field and the value, cut short.
        seq: The sample's sequence number where it could be read, for the box's acknowledgement.
        index: The sample's position in its message; None where the whole message was refused.
        purpose: Of what it was, by the catalogue's name, where that is known.
    """

    code: str
    detail: str
    seq: int | None = None
    index: int | None = None
    purpose: str | None = None

    @property
    def status(self) -> int:
        """The REST status of the code."""
        return get_rejection_status(self.code)


class RejectedError(ValueError):
    """An input was refused; raised by pure parsers, caught where the input came in.

    Attributes:
        code: A key of `REJECTION_REASONS`.
        detail: What to change, for people; at most 400 characters, free of control characters.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail[:_DETAIL_LIMIT]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def rejection(self, *, seq: int | None = None, index: int | None = None) -> InputRejection:
        """Return the same refusal as data, placed in its message."""
        return InputRejection(self.code, self.detail, seq, index)


def format_rejected_value(value: object) -> str:
    """Return a value as a detail shows it: ASCII, without control characters, at most 40 characters.

    Containers are named, not written out: they can be large, and their contents are nobody's concern here. So
    is a text that carries what must never enter, or the name of it.
    """
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _shown_text(value)
    if isinstance(value, int) and value.bit_length() > 120:  # noqa: PLR2004 - 36 digits; writing out more is slow
        return f"an integer of {value.bit_length()} bits"
    return repr(value)[:_SHOWN_LIMIT]


def _latin(escape: re.Match[str]) -> str:
    """Give a Latin letter with its accent back; what only looks like something else stays escaped."""
    letter = chr(int(escape[1] or escape[2] or "0", 16))
    return letter if "\u00c0" <= letter <= "\u024f" and letter.isalpha() else escape[0]


def _shown_text(value: str) -> str:
    if examine_name(value[:_EXAMINED]) is not None:
        return f"a text of {len(value)} characters"
    # Cut before it is escaped: a text can be a megabyte long.
    text = _ESCAPES.sub(_latin, ascii(value[:_SHOWN_LIMIT]))
    whole = len(value) <= _SHOWN_LIMIT and len(text) <= _SHOWN_LIMIT + 2
    return text if whole else text[:_SHOWN_LIMIT] + "..."
