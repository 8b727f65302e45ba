"""Renders the body of an event as a mail: subject, plain text and HTML in one language. Pure.

A mail is rendered once, with its delivery, so every attempt and replay sends the same text.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.notifications.delivery.alert_grouping import GROUP_EVENT
from app.notifications.email.alert_mail import SiteName, build_alert_mail
from app.notifications.email.group_mail import build_group_mail
from app.notifications.email.mail_event_schemas import MailAlertEvent, MailEvent, MailGroupEvent
from app.notifications.email.mail_texts import get_mail_texts
from app.notifications.email.notice_and_incident_mail import PREFIX as INCIDENTS
from app.notifications.email.notice_and_incident_mail import build_incident_mail, build_notice_mail
from app.presentation.languages import Language, get_language
from app.presentation.mail_layout import MailContent, render_html, render_plain_text

__all__ = ("RenderedMail", "SiteName", "build_event_mail", "render_mail", "render_mail_content")

_ALERTS: Final = "alert."


class RenderedMail(msgspec.Struct):
    """A rendered mail without recipients.

    Attributes:
        subject: The subject, one line of at most 150 characters.
        text: The plain text.
        html: The HTML.
        language: The language.
        thread: The thread of related mails, such as `alert-…`; None: no thread.
    """

    subject: str
    text: str
    html: str
    language: str = "en"
    thread: str | None = None


def render_mail(body: bytes, language: str, sites: Mapping[str, SiteName]) -> bytes:
    """Render the mail of an event.

    Args:
        body: The native body of an event of any type; an unknown type is shown field by field.
        language: `en` or `fr`; any other: English.
        sites: The names of sites by id. For an unknown site, times are in UTC.

    Returns:
        A `RenderedMail` as JSON.

    Raises:
        msgspec.DecodeError: The body is not JSON.
    """
    page = build_event_mail(body, language, sites)
    return msgspec.json.encode(render_mail_content(page, get_language(language)))


def render_mail_content(page: MailContent, language: Language) -> RenderedMail:
    """Render the content of a mail as plain text and as HTML."""
    return RenderedMail(
        page.subject, render_plain_text(page, language), render_html(page, language), language, page.thread
    )


def build_event_mail(body: bytes, language: str, sites: Mapping[str, SiteName]) -> MailContent:
    """Build the content of an event's mail by its type; an unexpected body is shown field by field.

    The arguments are those of `render_mail`.
    """
    texts = get_mail_texts(language)
    try:
        event = msgspec.json.decode(body, type=MailEvent)
    except msgspec.ValidationError:
        return build_notice_mail(MailEvent(data={"body": msgspec.json.decode(body)}), texts)
    try:
        if event.type == GROUP_EVENT:
            return build_group_mail(msgspec.json.decode(body, type=MailGroupEvent).data, sites, texts)
        # A new type of an alert's event can still show the alert, if it has one.
        if event.type.startswith(_ALERTS) and event.data.get("alert_id") is not None:
            return build_alert_mail(msgspec.json.decode(body, type=MailAlertEvent), sites, texts)
        if event.type.startswith(INCIDENTS) and event.type in texts.notices and event.data.get("incident_id"):
            return build_incident_mail(event, sites, texts)
    except msgspec.ValidationError:
        # An event of a later version, for example: it is shown field by field.
        pass
    return build_notice_mail(event, texts)
