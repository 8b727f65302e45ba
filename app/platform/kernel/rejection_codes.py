"""Defines the rejection codes: why an input was refused, the same by MQTT and by HTTP.

Holds each code with its REST status and title, and the two types that carry a code: `InputRejection` (data)
and `RejectedError` (raised by pure parsers). Codes are stable, as clients and dashboards match them.

Status 400 means that the document cannot be read, and covers all of it. 413 and 422 mean that a part of a
readable document is not accepted, and cover only the sample in which it was found.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from app.platform.content_policy.content_scanner import examine_name

_DETAIL_LIMIT: Final = 400
_SHOWN_LIMIT: Final = 40
# A backslash in the text itself is doubled.
_ESCAPES: Final = re.compile(r"\\\\|\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")
_EXAMINED: Final = 4_096


class RejectionReason(NamedTuple):
    """REST status and title of a rejection code. The title is the same for every rejection with that code."""

    status: int
    title: str


REJECTION_REASONS: Final[Mapping[str, RejectionReason]] = MappingProxyType(
    {
        # The document cannot be read.
        "invalid_encoding": RejectionReason(400, "The text is not UTF-8, or begins with a byte-order mark"),
        "empty_body": RejectionReason(400, "The payload is empty"),
        "invalid_json": RejectionReason(400, "The payload is not one JSON document"),
        "invalid_cbor": RejectionReason(400, "The payload is not one CBOR document"),
        "invalid_gzip": RejectionReason(400, "The body is not one gzip member"),
        "number_out_of_range": RejectionReason(400, "A number is too large to be read"),
        "nesting_too_deep": RejectionReason(400, "The document is nested too deeply"),
        "lone_surrogate": RejectionReason(400, "A text contains half of a surrogate pair"),
        "duplicate_key": RejectionReason(400, "A key occurs twice in one object"),
        # It is too much.
        "body_too_large": RejectionReason(413, "The body is too large"),
        "too_many_samples": RejectionReason(413, "The message contains too many samples"),
        "too_many_candidates": RejectionReason(413, "The event has too many candidates"),
        "text_too_long": RejectionReason(413, "A text is too long"),
        # It is in another format.
        "unsupported_media_type": RejectionReason(415, "The content type is not supported"),
        "unsupported_encoding": RejectionReason(415, "The content encoding is not supported"),
        # It does not arrive.
        "body_too_slow": RejectionReason(408, "The body did not arrive in time"),
        # It belongs to no known box.
        "unknown_box": RejectionReason(404, "The box does not exist"),
        # It can be read, but not accepted.
        "nul_in_text": RejectionReason(422, "A text contains a NUL character"),
        "invalid_text": RejectionReason(422, "A text is empty or contains characters that are not allowed"),
        "wrong_type": RejectionReason(422, "A value has the wrong type"),
        "missing_field": RejectionReason(422, "A required field is missing"),
        "unknown_field": RejectionReason(422, "A field does not exist"),
        "unknown_metric": RejectionReason(422, "A metric is not in the catalogue"),
        "value_out_of_bounds": RejectionReason(422, "A value is outside its bounds"),
        "wrong_unit": RejectionReason(422, "A unit does not fit the metric"),
        "integer_too_large": RejectionReason(422, "An integer exceeds 2^53"),
        "invalid_time": RejectionReason(422, "A time is not RFC 3339"),
        "time_without_zone": RejectionReason(422, "A time has no zone"),
        "time_out_of_range": RejectionReason(422, "A time is out of range"),
        "time_in_future": RejectionReason(422, "A time is too far in the future"),
        "time_too_old": RejectionReason(422, "A time is older than the site's retention"),
        "erased_range": RejectionReason(422, "The data of this time were erased and are not accepted again"),
        "invalid_duration": RejectionReason(422, "A duration is not ISO 8601, or too long"),
        "empty_batch": RejectionReason(422, "The message contains no samples"),
        "empty_values": RejectionReason(422, "The sample contains no values"),
        "invalid_box_id": RejectionReason(422, "A box id is not valid"),
        "unknown_event_type": RejectionReason(422, "An event's type is not valid"),
        "unknown_state": RejectionReason(422, "A box's state does not exist"),
        # It has no legal basis, or is forbidden.
        "purpose_not_declared": RejectionReason(403, "The site has not declared the purpose of these data"),
        "purpose_not_approved": RejectionReason(
            403, "The site's declaration of this purpose is not approved"
        ),
        "purpose_ended": RejectionReason(403, "The site's declaration of this purpose has ended"),
        "forbidden_content": RejectionReason(422, "The content is forbidden"),
        "camera_coupling": RejectionReason(422, "A camera must not be coupled with sound events"),
        # It is more than the organisation may send.
        "quota_exceeded": RejectionReason(429, "The organisation has reached its daily quota of samples"),
        # Only MQTT can produce these. The status is that of the equivalent REST error.
        "retained_message": RejectionReason(422, "A retained message is not accepted as a measurement"),
        "topic": RejectionReason(422, "The topic does not belong to a box"),
        "undecodable": RejectionReason(422, "Vigie failed to decode it, which is a fault of Vigie"),
        "storage_refused": RejectionReason(422, "The database cannot store it"),
        "malformed_packet": RejectionReason(400, "An MQTT packet cannot be read"),
    }
)
"""Every rejection code. Codes are added, never renamed."""

NEVER_STORED_CODES: Final = frozenset(
    {
        *("purpose_not_declared", "purpose_not_approved", "purpose_ended"),
        *("forbidden_content", "camera_coupling", "unknown_event_type"),
    }
)
"""Codes of input that is stored nowhere: it is counted, and its sender is notified.

Such input gets no quarantine entry, no stored payload and no log line. The details quote nothing that the
sender wrote: they name purposes and event types from Vigie's own catalogue.
"""


def get_rejection_status(code: str) -> int:
    """Return the REST status of a rejection code (KeyError for an unknown code)."""
    return REJECTION_REASONS[code].status


def get_rejection_title(code: str) -> str:
    """Return the title of a rejection code (KeyError for an unknown code)."""
    return REJECTION_REASONS[code].title


@dataclass(frozen=True, slots=True)
class InputRejection:
    """A rejected input, as data.

    Attributes:
        code: A key of `REJECTION_REASONS`.
        detail: What to change, with the field and the value, truncated.
        seq: The sample's sequence number where it could be read, for the box's acknowledgement.
        index: The sample's index in its message; None where the whole message was rejected.
        purpose: The purpose of the data, by its name in the catalogue, where it is known.
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
    """A rejected input, raised by pure parsers and caught where the input was received.

    Attributes:
        code: A key of `REJECTION_REASONS`.
        detail: What to change, for people; at most 400 characters, without control characters.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail[:_DETAIL_LIMIT]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def rejection(self, *, seq: int | None = None, index: int | None = None) -> InputRejection:
        """Return the same rejection as data, with the sample's position in its message."""
        return InputRejection(self.code, self.detail, seq, index)


def format_rejected_value(value: object) -> str:
    """Format a value for a detail: ASCII, without control characters, at most 40 characters.

    Containers are named, not written out, as they can be large. The same holds for a text with forbidden
    content, or with the name of such content.
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
    """Unescape a Latin letter with an accent.

    Letters of other alphabets stay escaped: they can look alike.
    """
    letter = chr(int(escape[1] or escape[2] or "0", 16))
    return letter if "\u00c0" <= letter <= "\u024f" and letter.isalpha() else escape[0]


def _shown_text(value: str) -> str:
    if examine_name(value[:_EXAMINED]) is not None:
        return f"a text of {len(value)} characters"
    # Truncates before escaping: a text can be a megabyte long.
    text = _ESCAPES.sub(_latin, ascii(value[:_SHOWN_LIMIT]))
    whole = len(value) <= _SHOWN_LIMIT and len(text) <= _SHOWN_LIMIT + 2
    return text if whole else text[:_SHOWN_LIMIT] + "..."
