"""What a mail shows, before it is laid out: one shape for all that mails tell of. Pure.

Every text in here is cleaned (`app.notifications.email.mail_formats`), and not yet escaped.
"""

from typing import Final, Literal, NamedTuple

type MailTone = Literal["critical", "warning", "info", "resolved", "plain"]
"""Which colour: of a severity, of what is over, or of what is neither."""

SUBJECT_LIMIT: Final = 150
"""Of a subject, in characters."""


class MailListItem(NamedTuple):
    """One line of a list.

    Attributes:
        tone: Its colour.
        word: What stands in it: a severity, or that it is over.
        title: What it is about.
        detail: The rest of the line; may be empty.
        link: Where it leads; None: nowhere.
    """

    tone: MailTone
    word: str
    title: str
    detail: str
    link: str | None = None


class MailContent(NamedTuple):
    """A mail.

    Attributes:
        subject: At most SUBJECT_LIMIT characters.
        tone, word: The colour, and what stands in it.
        title: The headline.
        lead: The first sentence.
        rows: What there is to know, as (label, value).
        advice: The lines that say what is to be done.
        items: What is listed.
        more: How many more there are, as a sentence.
        footer: Small print.
        link: Where the mail's subject is read; None: nowhere.
        thread: Mails with the same one belong together; None: it stands alone.
    """

    subject: str
    tone: MailTone
    word: str
    title: str
    lead: str
    rows: tuple[tuple[str, str], ...] = ()
    advice: tuple[str, ...] = ()
    items: tuple[MailListItem, ...] = ()
    more: str | None = None
    footer: tuple[str, ...] = ()
    link: str | None = None
    thread: str | None = None
