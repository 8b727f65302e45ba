"""Rejects request bodies with forbidden content: audio, images or biometric data in names, texts and notes.

Holds the exempt fields and the error; `app.platform.content_policy.content_scanner` detects. The error names
the path of the field and nothing of its content. E-mail addresses and telephone numbers are accepted here:
recipients and site operators are persons by design (docs/privacy.md).
"""

import re
from typing import Final

from app.platform.content_policy.content_scanner import NOT_EXAMINED_FINDING, ContentFinding, examine_document
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.strict_json import Json

EXEMPT: Final = frozenset(
    {
        # Secrets of clients: encrypted or hashed where they are stored, and never shown.
        *("secret", "password", "current_password", "new_password"),
        # Headers that receivers require, including tokens: encrypted as well.
        "headers",
        # Tokens and codes of invitations, claims and sign-in: only compared, never stored.
        *("token", "code", "state", "key", "challenge", "recovery_code"),
        # What authenticators sign: public keys and signatures, which are verified before anything is stored.
        *("credential", "passkey"),
    }
)
"""Top-level fields whose content is not examined.

Fields of the same names in attributes and configurations are.
"""

# Of one thing, or of each box of a bulk request: 1,000 boxes have 2,000 coordinates. Fields of the same name
# in attributes and configurations lie deeper.
_POSITIONS: Final = re.compile(r"(?:boxes\.[0-9]+\.)?location")


class ForbiddenContentError(InvalidError):
    """A body contains forbidden content; the code is that of the finding."""

    def __init__(self, finding: ContentFinding) -> None:
        super().__init__(finding.detail, code=finding.code)
        self.at(f"body.{finding.path}" if finding.path else "body")


def check_body(document: Json) -> None:
    """Reject a document with forbidden content (ForbiddenContentError)."""
    try:
        finding = examine_document(document, persons=False, exempt=EXEMPT, positions=_POSITIONS)
    except Exception:  # noqa: BLE001 (a scanner that fails accepts nothing)
        finding = NOT_EXAMINED_FINDING
    if finding is not None:
        raise ForbiddenContentError(finding) from None
