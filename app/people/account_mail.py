"""Composes the mails about changes of a person's second factors, in English and in French. Pure."""

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

_ADDRESS_LIMIT: Final = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountMailTexts:
    """The texts of one language."""

    language: Language
    tag: str
    titles: Mapping[str, str]
    leads: Mapping[str, str]
    account: str
    time: str
    unexpected: str
    footer: str


TEXTS: Final = AccountMailTexts(
    language="en",
    tag="Account",
    titles={
        "totp_added": "Authenticator app added",
        "totp_removed": "Authenticator app removed",
        "passkey_added": "Passkey added",
        "passkey_removed": "Passkey removed",
        "factors_removed": "Second factors removed",
        "recovery_codes_replaced": "Recovery codes replaced",
        "recovery_code_used": "Recovery code used",
    },
    leads={
        "totp_added": "An authenticator app was added to your Vigie account.",
        "totp_removed": "The authenticator app was removed from your Vigie account.",
        "passkey_added": "A passkey was added to your Vigie account. It can sign in without your password.",
        "passkey_removed": "A passkey was removed from your Vigie account.",
        "factors_removed": "All second factors of your Vigie account were removed: an administrator reset "
        "them, or the account joined an organisation.",
        "recovery_codes_replaced": "The recovery codes of your Vigie account were replaced. The former ones "
        "no longer work.",
        "recovery_code_used": "A recovery code of your Vigie account was used in place of a second factor.",
    },
    account="Account",
    time="Time",
    unexpected="If this was not you, change your password, end all your sign-ins, and tell an owner of your "
    "organisation.",
    footer="Vigie sends this email when second factors change. You cannot turn it off.",
)
"""The texts as typed, which the message catalogue has as `msgid`."""

TEXTS_BY_LANGUAGE: Final[Mapping[Language, AccountMailTexts]] = {
    language: translate_fields(TEXTS, language, context="account mail") for language in LOCALES
}


def build_account_mail(
    language: Language, kind: str, *, email: str, changed_at: datetime, link: str
) -> MailContent:
    """Compose a mail.

    Args:
        language: The language of the mail.
        kind: What happened: a key of `titles`.
        email: The address of the account.
        changed_at: When it happened, with a time zone.
        link: The link to the person's account.
    """
    words = TEXTS_BY_LANGUAGE[language]
    time = format_local_time(format_us(from_datetime(changed_at)), None, words.language) or ""
    return MailContent(
        subject=truncate_text(words.titles[kind], SUBJECT_LIMIT),
        tone="info",
        word=words.tag,
        title=words.titles[kind],
        lead=words.leads[kind],
        rows=((words.account, clean_line(email, _ADDRESS_LIMIT)), (words.time, time)),
        advice=(words.unexpected,),
        footer=(words.footer,),
        link=link,
    )
