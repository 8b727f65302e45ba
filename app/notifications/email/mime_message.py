"""Builds the MIME message of a mail with its headers (RFC 5322). Pure.

Header injection is prevented: subjects have no line breaks, addresses are validated
(`app.platform.kernel.email_addresses`), and the standard library refuses the rest.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec

from app.notifications.email.mail_rendering import RenderedMail
from app.platform.kernel.email_addresses import get_email_domain, normalise_email_address
from app.presentation.mail_layout import SUBJECT_LIMIT
from app.presentation.typography import clean_line

# 7 bits and short lines: every server forwards them unchanged, so signatures stay valid.
_POLICY: Final = SMTP.clone(cte_type="7bit")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class SenderAddress(NamedTuple):
    """The sender of mails.

    Attributes:
        name: The display name; may be empty.
        address: The address of the header and of the envelope, to which servers send bounces.
    """

    name: str
    address: str

    @classmethod
    def of(cls, written: str) -> Self:
        """Parse `Name <address>` or an address.

        Raises:
            InvalidError: `invalid_email_address`.
        """
        name, address = parseaddr(written)
        return cls(clean_line(name, 100), normalise_email_address(address))

    @property
    def domain(self) -> str:
        """The domain of the address, used in `Message-ID`."""
        return get_email_domain(self.address)


class DeliveryHeaders(NamedTuple):
    """The values of a message's headers about its delivery.

    Attributes:
        message_id: The event's `msg_…`, the same at each attempt and replay.
        type: The event's type.
        delivery_id: The delivery; None for a mail without a channel.
        endpoint_id: The channel; None for a mail without a channel.
    """

    message_id: str
    type: str
    delivery_id: UUID | None = None
    endpoint_id: UUID | None = None


class MailAttachment(NamedTuple):
    """A file of a mail.

    Attributes:
        name: The file name, in ASCII.
        media_type: Such as `application/pdf`.
        content: The bytes.
    """

    name: str
    media_type: str
    content: bytes


def build_mime_message(
    body: bytes,
    sender: SenderAddress,
    to: Sequence[str],
    sent: DeliveryHeaders,
    now: datetime,
    *,
    attachments: Sequence[MailAttachment] = (),
) -> bytes:
    """Build the message.

    All recipients are in `To`: they are a team, and see who else was notified. `Message-ID` is always the
    same, so that mailboxes can deduplicate a mail that arrives twice. Mails of one alert or group refer to
    the same message, which was never sent, so mail programs show them as one thread.

    Args:
        body: A `RenderedMail` as JSON.
        sender: The sender.
        to: Validated addresses.
        sent: The values of the headers about the delivery.
        now: The time for `Date`, aware.
        attachments: The files of the mail.

    Returns:
        The message in ASCII, with lines that end in CR LF.

    Raises:
        msgspec.DecodeError, ValueError: The body is not a `RenderedMail`, or an address is invalid.
    """
    mail = msgspec.json.decode(body, type=RenderedMail)
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address(sender.name, addr_spec=sender.address)
    message["To"] = [Address(addr_spec=address) for address in to]
    message["Subject"] = clean_line(mail.subject, SUBJECT_LIMIT)
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{sent.message_id}@{sender.domain}>"
    if mail.thread is not None and _TOKEN.fullmatch(mail.thread):
        thread = f"<{mail.thread}@{sender.domain}>"
        message["In-Reply-To"] = thread
        message["References"] = thread
    # Prevents automatic replies and mail loops.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Vigie-Event"] = sent.type if _TOKEN.fullmatch(sent.type) else "unknown"
    if sent.delivery_id is not None:
        message["X-Vigie-Delivery"] = str(sent.delivery_id)
    if sent.endpoint_id is not None:
        message["X-Vigie-Channel"] = str(sent.endpoint_id)
    message.set_content(mail.text, charset="utf-8", cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", charset="utf-8", cte="quoted-printable")
    for each in attachments:
        kind, _, subtype = each.media_type.partition("/")
        message.add_attachment(each.content, maintype=kind, subtype=subtype, filename=each.name, cte="base64")
    # Last: adding the parts moves `Content-` headers into them.
    message["Content-Language"] = mail.language if _TOKEN.fullmatch(mail.language) else "en"
    return message.as_bytes()
