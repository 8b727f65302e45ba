"""Decides which refused payloads may be stored.

A refusal with forbidden content gets the code of that content and is not stored. Binary data is not stored
either, but keeps its own code. Pure.

Only 1 MiB of a batch is examined. Refused payloads after that are not stored.
"""

from dataclasses import dataclass, field
from typing import Final

from app.platform.content_policy.content_scanner import NOT_EXAMINED_FINDING, ContentFinding, examine_topic
from app.platform.content_policy.payload_assessment import SEEN_BYTES, PayloadAssessment, assess_payload
from app.platform.kernel.rejection_codes import InputRejection

EXAMINED_BYTES: Final = 2**20
"""Bytes of a batch that are examined: at most two seconds of work (0.1 s for 64 KiB of quotation marks)."""

_UNEXAMINED: Final = PayloadAssessment(None, readable=False)
_FOREIGN_LEVEL: Final = 2


def build_content_rejection(finding: ContentFinding, former: InputRejection) -> InputRejection:
    """Return a rejection for forbidden content in place of the former one."""
    return InputRejection(finding.code, finding.detail, former.seq, former.index, former.purpose)


@dataclass(slots=True)
class PayloadGuard:
    """The content check of one batch.

    Attributes:
        examined_bytes: bytes examined so far.
        last_message: the message that was examined last and its result, since many of its parts may be
            refused.
    """

    examined_bytes: int = 0
    last_message: tuple[int, PayloadAssessment] | None = field(default=None, repr=False)

    def assess(
        self, origin: int, message: tuple[str | None, bytes], box: str | None, part: bytes | None
    ) -> PayloadAssessment:
        """Assess a refused payload.

        Args:
            origin: index of the message in the batch.
            message: its topic, if there is one, and its whole payload: content that was split into parts is
                found in the whole.
            box: id of the box, if it is known.
            part: the refused part; None for the whole message.
        """
        topic, payload = message
        finding = None if topic is None else _examine_topic(topic, box)
        if finding is not None:
            return PayloadAssessment(finding, readable=False)
        if self.last_message is None or self.last_message[0] != origin:
            self.last_message = (origin, self._assess(payload))
        assessment = self.last_message[1]
        if assessment.finding is None and part is not None:
            # The part was decompressed or decoded, or lies beyond the examined bytes of the whole.
            assessment = self._assess(part)
        return assessment

    def _assess(self, data: bytes) -> PayloadAssessment:
        if self.examined_bytes >= EXAMINED_BYTES:
            return _UNEXAMINED
        self.examined_bytes += min(len(data), SEEN_BYTES)
        return assess_payload(data)


def _examine_topic(topic: str, box: str | None) -> ContentFinding | None:
    """Examine the levels of a topic, except the box's id, which the registering person chose."""
    if len(topic) > SEEN_BYTES:
        return NOT_EXAMINED_FINDING
    levels = topic.split("/")
    skipped = {box} if box is not None else set(levels[_FOREIGN_LEVEL : _FOREIGN_LEVEL + 1])
    return examine_topic(topic, skip=skipped)
