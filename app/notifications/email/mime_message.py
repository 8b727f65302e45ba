"""A delivery of a mail as the message that goes over the wire (RFC 5322). Pure.

Owns the headers. Nothing that others have written can end a header or begin one: subjects have no line ends,
addresses are checked (`app.platform.kernel.email_addresses`), and the standard library refuses the rest.
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

from app.notifications.email.mail_formats import clean_line
from app.notifications.email.mail_layout import SUBJECT_LIMIT
from app.notifications.email.mail_rendering import RenderedMail
from app.platform.kernel.email_addresses import get_email_domain, normalise_email_address

# Seven bits and short lines: every server takes them as they are, and no signature breaks on the way.
_POLICY: Final = SMTP.clone(cte_type="7bit")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class SenderAddress(NamedTuple):
    """Who mails come from.

    Attributes:
        name: What programs show; may be empty.
        address: The address, also that of the envelope, to which servers report what they cannot deliver.
    """

    name: str
    address: str

    @classmethod
    def of(cls, written: str) -> Self:
        """Read `Name <address>` or an address alone.

        Raises:
            InvalidError: `invalid_email_address`.
        """
        name, address = parseaddr(written)
        return cls(clean_line(name, 100), normalise_email_address(address))

    @property
    def domain(self) -> str:
        """What mails are told apart under: of the address."""
        return get_email_domain(self.address)


class DeliveryHeaders(NamedTuple):
    """What a message says of its delivery in headers.

    Attributes:
        message_id: The event's, `msg_…`: the same at each attempt and replay.
        type: The event's type.
        delivery_id: The delivery; None: it is none of a channel's.
        endpoint_id: The channel; None likewise.
    """

    message_id: str
    type: str
    delivery_id: UUID | None = None
    endpoint_id: UUID | None = None


def build_mime_message(
    body: bytes, sender: SenderAddress, to: Sequence[str], sent: DeliveryHeaders, now: datetime
) -> bytes:
    """Make the message.

    All recipients are in `To`: they are one team's list, and see who else was told. `Message-ID` stays the
    same, so that mailboxes know a mail that comes twice. Mails of one alert or group answer a message that
    was never sent: so programs show them together, whichever of them came first.

    Args:
        body: A Mail as JSON.
        sender: Who it comes from.
        to: Addresses that are checked.
        sent: What is known of the delivery.
        now: For `Date`, aware.

    Returns:
        Lines that end in CR LF, in ASCII.

    Raises:
        msgspec.DecodeError, ValueError: The body is not a Mail, or an address is none.
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
    # No holiday answers, and no loops between machines.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Vigie-Event"] = sent.type if _TOKEN.fullmatch(sent.type) else "unknown"
    if sent.delivery_id is not None:
        message["X-Vigie-Delivery"] = str(sent.delivery_id)
    if sent.endpoint_id is not None:
        message["X-Vigie-Channel"] = str(sent.endpoint_id)
    message.set_content(mail.text, charset="utf-8", cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", charset="utf-8", cte="quoted-printable")
    # Last: making the parts takes such headers from the whole.
    message["Content-Language"] = mail.language if _TOKEN.fullmatch(mail.language) else "en"
    return message.as_bytes()
