"""The guard on what clients of REST write: names, texts, attributes, configurations, notes.

Owns which fields it leaves alone, and the error. What counts is
`app.platform.content_policy.content_scanner`'s.

It tells the path of the field, and nothing of what was in it. E-mail addresses and telephone numbers pass
here: who is to be told, and who answers for a site, are persons by design (docs/privacy.md).
"""

from typing import Final

from app.platform.content_policy.content_scanner import NOT_EXAMINED_FINDING, ContentFinding, examine_document
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.strict_json import Json

EXEMPT: Final = frozenset(
    {
        # Secrets of clients: sealed or hashed where they are kept, and shown to nobody.
        *("secret", "password", "current_password", "new_password"),
        # Values that receivers ask for, tokens among them: sealed as well.
        "headers",
        # Of invitations, of claims and of sign-in: compared with what was made here, and not kept.
        *("token", "code", "state", "key"),
    }
)
"""Fields of a body below which nothing is looked at. In attributes and configurations the same names are."""


class ForbiddenContentError(InvalidError):
    """A body carries what must never enter; its code is the guard's."""

    def __init__(self, finding: ContentFinding) -> None:
        super().__init__(finding.detail, code=finding.code)
        self.at(f"body.{finding.path}" if finding.path else "body")


def check_body(document: Json) -> None:
    """Refuse a document with what must never enter (ForbiddenContentError)."""
    try:
        finding = examine_document(document, persons=False, exempt=EXEMPT)
    except Exception:  # noqa: BLE001 (a guard that cannot say lets nothing through)
        finding = NOT_EXAMINED_FINDING
    if finding is not None:
        raise ForbiddenContentError(finding) from None
