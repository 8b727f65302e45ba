"""What of a refused message may be kept: the guard, as the doors ask it.

Owns what becomes of a refusal whose message carries what must never enter: it gets the guard's code in place
of its own, and nothing of it goes further. What is no text is not kept either, but under its own code. Pure.

Of a batch no more than so many bytes are examined: of what is refused after that nothing is kept, unexamined.
"""

from dataclasses import dataclass, field
from typing import Final

from app.platform.content_policy.content_scanner import NOT_EXAMINED_FINDING, ContentFinding, examine_topic
from app.platform.content_policy.refused_payloads import SEEN_BYTES, PayloadAssessment, assess_payload
from app.platform.kernel.rejection_codes import InputRejection

EXAMINED_BYTES: Final = 2**20
"""How much of a batch is examined: one or two seconds of work in the worst case (0.1 s for 64 KiB of
quotation marks); of what is refused beyond that only the count stays."""

_UNEXAMINED: Final = PayloadAssessment(None, readable=False)
_FOREIGN_LEVEL: Final = 2


def build_content_rejection(finding: ContentFinding, former: InputRejection) -> InputRejection:
    """A refusal with the guard's reason in place of its own."""
    return InputRejection(finding.code, finding.detail, former.seq, former.index, former.purpose)


@dataclass(slots=True)
class PayloadGuard:
    """The guard of one batch.

    Attributes:
        examined: how many bytes were looked at so far.
        whole: the judgement on the message that was looked at last, of which many parts may be refused.
    """

    examined_bytes: int = 0
    last_message: tuple[int, PayloadAssessment] | None = field(default=None, repr=False)

    def assess(
        self, origin: int, message: tuple[str | None, bytes], box: str | None, part: bytes | None
    ) -> PayloadAssessment:
        """Judge what is refused.

        Args:
            origin: which message of the batch it is.
            message: its topic, where it has one, and all of its payload: what is cut into many parts is found
                in the whole.
            box: whose it is, where that is known.
            part: the part that is refused; None for all of it.
        """
        topic, payload = message
        finding = None if topic is None else _of_topic(topic, box)
        if finding is not None:
            return PayloadAssessment(finding, readable=False)
        if self.last_message is None or self.last_message[0] != origin:
            self.last_message = (origin, self._assess(payload))
        assessment = self.last_message[1]
        if assessment.finding is None and part is not None:
            # It was inflated or decoded, or lies further behind than what was seen of the whole.
            assessment = self._assess(part)
        return assessment

    def _assess(self, data: bytes) -> PayloadAssessment:
        if self.examined_bytes >= EXAMINED_BYTES:
            return _UNEXAMINED
        self.examined_bytes += min(len(data), SEEN_BYTES)
        return assess_payload(data)


def _of_topic(topic: str, box: str | None) -> ContentFinding | None:
    """A topic's levels are names; that of a box is not: who registers it has chosen it."""
    if len(topic) > SEEN_BYTES:
        return NOT_EXAMINED_FINDING
    levels = topic.split("/")
    named = {box} if box is not None else set(levels[_FOREIGN_LEVEL : _FOREIGN_LEVEL + 1])
    return examine_topic(topic, skip=named)
