"""From the body of an event to a mail: subject, plain text and HTML, in a language. Pure: no clock, no I/O.

A mail is made once, when its delivery is: every attempt and replay sends the same. Must not know who receives
it, nor how it is sent (`app.notifications.email.email_transport`).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.notifications.delivery.grouping import GROUP_EVENT
from app.notifications.email.alert_mail import SiteName, build_alert_mail
from app.notifications.email.event_bodies import MailAlertEvent, MailEvent, MailGroupEvent
from app.notifications.email.group_mail import build_group_mail
from app.notifications.email.mail_formats import get_mail_texts
from app.notifications.email.mail_layout import MailContent, render_html, render_plain_text
from app.notifications.email.notice_mail import PREFIX as INCIDENTS
from app.notifications.email.notice_mail import build_incident_mail, build_notice_mail

__all__ = ("RenderedMail", "SiteName", "build_event_mail", "render_mail")

_ALERTS: Final = "alert."


class RenderedMail(msgspec.Struct):
    """A mail that is made, but addressed to nobody yet.

    Attributes:
        subject: On one line, at most 150 characters.
        text: The plain text.
        html: The same as HTML.
        language: What it is written in.
        thread: What it belongs to, such as `alert-…`; None: it stands alone.
    """

    subject: str
    text: str
    html: str
    language: str = "en"
    thread: str | None = None


def render_mail(body: bytes, language: str, sites: Mapping[str, SiteName]) -> bytes:
    """Make the mail of an event.

    Args:
        body: The event as a webhook would have it, of any type: one that is not known is listed.
        language: `en` or `fr`; any other: English.
        sites: The sites that the event may name, by their ids. Of one that is not here neither the name nor
            the time zone is known; times are in UTC then.

    Returns:
        A Mail as JSON.

    Raises:
        msgspec.DecodeError: The body is not JSON.
    """
    texts = get_mail_texts(language)
    page = build_event_mail(body, language, sites)
    mail = RenderedMail(
        page.subject, render_plain_text(page, texts), render_html(page, texts), texts.language, page.thread
    )
    return msgspec.json.encode(mail)


def build_event_mail(body: bytes, language: str, sites: Mapping[str, SiteName]) -> MailContent:
    """Read the event as what it says that it is; what does not look like it is listed as it stands.

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
        # Of an alert whose event is new the alert can be told all the same; without one there is nothing.
        if event.type.startswith(_ALERTS) and event.data.get("alert_id") is not None:
            return build_alert_mail(msgspec.json.decode(body, type=MailAlertEvent), sites, texts)
        if event.type.startswith(INCIDENTS) and event.type in texts.notices and event.data.get("incident_id"):
            return build_incident_mail(event, sites, texts)
    except msgspec.ValidationError:
        # Of a later version, perhaps: told in its own words, not lost.
        pass
    return build_notice_mail(event, texts)
