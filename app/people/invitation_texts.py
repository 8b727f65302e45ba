"""Composes the mail of an invitation, in English and in French. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from app.notifications.email.mail_formats import clean_line, format_local_time, get_mail_texts, truncate_text
from app.notifications.email.mail_layout import SUBJECT_LIMIT, MailContent
from app.platform.kernel.instants import format_us, from_datetime
from app.presentation.translation import APOSTROPHE, NBSP

_NAME_LIMIT: Final = 120


class _Words(NamedTuple):
    """The texts of one language."""

    tag: str
    subject: str
    lead: str
    how: str
    role: str
    inviter: str
    until: str
    roles: Mapping[str, str]
    footer: str


_WORDS: Final[Mapping[str, _Words]] = {
    "en": _Words(
        tag="Invitation",
        subject="You are invited to join {organisation} on Vigie",
        lead="{inviter} invites you to join {organisation} on Vigie, which monitors the city's sensors.",
        how="Open the link below to accept. It is for you alone: anyone who opens it can join in your place.",
        role="Role",
        inviter="Invited by",
        until="Valid until",
        roles={"owner": "Owner", "operator": "Operator", "viewer": "Viewer", "installer": "Installer"},
        footer="If you did not expect this invitation, ignore this email. Nothing happens unless you accept.",
    ),
    "fr": _Words(
        tag="Invitation",
        subject="Vous êtes invité(e) à rejoindre {organisation} sur Vigie",
        lead="{inviter} vous invite à rejoindre {organisation} sur Vigie, le service de suivi des "
        "capteurs de la ville.",
        how="Pour accepter, ouvrez le lien ci-dessous. Il vous est personnel"
        f"{NBSP}: quiconque l{APOSTROPHE}ouvre peut s{APOSTROPHE}inscrire à votre place.",
        role="Rôle",
        inviter="Invitation de",
        until=f"Valable jusqu{APOSTROPHE}au",
        roles={
            "owner": "Propriétaire",
            "operator": "Opérateur",
            "viewer": "Lecteur",
            "installer": "Installateur",
        },
        footer=f"Vous n{APOSTROPHE}attendiez pas cette invitation{NBSP}? Ignorez ce message"
        f"{NBSP}: sans action de votre part, rien ne se passe.",
    ),
}


def build_invitation_page(
    language: str, *, organisation: str, inviter: str, role: str, expires_at: datetime, link: str
) -> MailContent:
    """Compose the mail of an invitation.

    Args:
        language: `en` or `fr`; any other: English.
        organisation: The organisation's name.
        inviter: The name of the inviting person or API key.
        role: The role of the new member.
        expires_at: The expiry, with a time zone.
        link: The link with the token.
    """
    texts = get_mail_texts(language)
    words = _WORDS[texts.language]
    names = {
        "organisation": clean_line(organisation, _NAME_LIMIT),
        "inviter": clean_line(inviter, _NAME_LIMIT),
    }
    until = format_local_time(format_us(from_datetime(expires_at)), None, texts) or ""
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
