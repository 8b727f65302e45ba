"""Composes the mail of an invitation, in English and in French. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.platform.kernel.instants import format_us, from_datetime
from app.presentation.date_formats import format_local_time
from app.presentation.languages import LOCALES, Language
from app.presentation.mail_layout import SUBJECT_LIMIT, MailContent
from app.presentation.translation import translate_fields
from app.presentation.typography import clean_line, truncate_text

_NAME_LIMIT: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationTexts:
    """The texts of one language."""

    language: Language
    tag: str
    subject: str
    lead: str
    how: str
    role: str
    inviter: str
    until: str
    roles: Mapping[str, str]
    footer: str


TEXTS: Final = InvitationTexts(
    language="en",
    tag="Invitation",
    subject="You are invited to join {organisation} on Vigie",
    lead="{inviter} invites you to join {organisation} on Vigie, which monitors the city's sensors.",
    how="Open the link below to accept. It is for you alone: anyone who opens it can join in your place.",
    role="Role",
    inviter="Invited by",
    until="Valid until",
    roles={"owner": "Owner", "operator": "Operator", "viewer": "Viewer", "installer": "Installer"},
    footer="If you did not expect this invitation, ignore this email. Nothing happens unless you accept.",
)
"""The texts as typed, which the message catalogue has as `msgid`."""

TEXTS_BY_LANGUAGE: Final[Mapping[Language, InvitationTexts]] = {
    language: translate_fields(TEXTS, language, context="invitation") for language in LOCALES
}


def build_invitation_mail(
    language: Language, *, organisation: str, inviter: str, role: str, expires_at: datetime, link: str
) -> MailContent:
    """Compose the mail of an invitation.

    Args:
        language: The language of the mail.
        organisation: The organisation's name.
        inviter: The name of the inviting person or API key.
        role: The role of the new member.
        expires_at: The expiry, with a time zone.
        link: The link with the token.
    """
    words = TEXTS_BY_LANGUAGE[language]
    names = {
        "organisation": clean_line(organisation, _NAME_LIMIT),
        "inviter": clean_line(inviter, _NAME_LIMIT),
    }
    until = format_local_time(format_us(from_datetime(expires_at)), None, words.language) or ""
    return MailContent(
        subject=truncate_text(words.subject.format(**names), SUBJECT_LIMIT),
        tone="info",
        word=words.tag,
        title=names["organisation"],
        lead=f"{words.lead.format(**names)} {words.how}",
        rows=(
            (words.role, words.roles.get(role, role)),
            (words.inviter, names["inviter"]),
            (words.until, until),
        ),
        footer=(words.footer,),
        link=link,
    )
