import json
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import formataddr
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.email.mime_message import DeliveryHeaders, SenderAddress, build_mime_message
from app.platform.kernel.errors import InvalidError
from app.presentation.typography import clean_line
from tests.unit.notifications.email.bodies import alert, mail_of

SENDER = SenderAddress("Vigie de la Ville d'É", "vigie@ville.example")
DELIVERY, ENDPOINT = UUID(int=1), UUID(int=2)
SENT = DeliveryHeaders("msg_01", "alert.firing", DELIVERY, ENDPOINT)
NOW = datetime(2026, 11, 24, 10, 10, 2, tzinfo=UTC)
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"),
    *("X-Auto-Response-Suppress", "Content-Language", "X-Vigie-Event", "X-Vigie-Delivery", "X-Vigie-Channel"),
    *("MIME-Version", "Content-Type"),
}


def body_of(subject: str = "s", text: str = "t", html: str = "<p>t</p>", **other: str) -> bytes:
    return json.dumps({"subject": subject, "text": text, "html": html, **other}).encode()


def read(raw: bytes) -> EmailMessage:
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def part(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    content: str = found.get_content()
    return content.replace("\r\n", "\n")


def test_a_message_has_both_forms_and_its_headers() -> None:
    mail = mail_of(alert(description="Fermez les fenêtres."), "fr")
    body = json.dumps({name: getattr(mail, name) for name in mail.__struct_fields__}).encode()
    raw = build_mime_message(body, SENDER, ["a@ville.example", "b@ville.example"], SENT, NOW)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert b"\n" not in raw.replace(b"\r\n", b"")
    message = read(raw)
    assert message.get_content_type() == "multipart/alternative"
    assert part(message, "plain") == mail.text
    assert part(message, "html") == mail.html
    assert message["Subject"] == mail.subject
    assert message["From"].addresses[0].display_name == "Vigie de la Ville d'É"
    assert [each.addr_spec for each in message["To"].addresses] == ["a@ville.example", "b@ville.example"]
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == "<msg_01@ville.example>"
    assert message["In-Reply-To"] == message["References"] == f"<{mail.thread}@ville.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Content-Language"] == "fr"
    assert message["X-Vigie-Event"] == "alert.firing"
    assert message["X-Vigie-Delivery"] == str(DELIVERY)
    assert message["X-Vigie-Channel"] == str(ENDPOINT)
    assert set(message.keys()) == HEADERS


def test_an_attempt_is_known_by_its_message_id() -> None:
    first = read(build_mime_message(body_of(), SENDER, ["a@b.example"], SENT, NOW))
    later = read(build_mime_message(body_of(), SENDER, ["a@b.example"], SENT, NOW.replace(day=25)))
    assert first["Message-ID"] == later["Message-ID"]
    assert first["Date"] != later["Date"]
    # One that belongs to nothing is in no thread.
    assert "References" not in first


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@given(
    ANY.map(lambda text: text + "\r\nBcc: x@evil.example\r\n\r\n."),
    ANY.map(lambda text: text + "\r\n.\r\nMAIL FROM:<x@evil.example>\r\n"),
    ANY,
    ANY,
)
def test_nothing_in_a_mail_becomes_a_header(subject: str, text: str, other: str, name: str) -> None:
    body = body_of(subject, text, text, language=other, thread=other)
    sender = SenderAddress.of(formataddr((clean_line(name, 100), "vigie@ville.example"), "utf-8"))
    raw = build_mime_message(body, sender, ["a@b.example"], SENT._replace(type=other), NOW)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = read(raw)
    assert set(message.keys()) <= HEADERS
    assert "\n" not in message["Subject"]
    assert len(message["Subject"]) <= 150
    assert [each.addr_spec for each in message["From"].addresses] == ["vigie@ville.example"]
    assert [each.get_content_type() for each in message.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize(
    ("written", "name", "address"),
    [
        ("Vigie <vigie@localhost>", "Vigie", "vigie@localhost"),
        ("vigie@Ville.Example", "", "vigie@ville.example"),
        ('"Ville, air" <air@ville.example>', "Ville, air", "air@ville.example"),
    ],
)
def test_senders(written: str, name: str, address: str) -> None:
    assert SenderAddress.of(written) == (name, address)


@pytest.mark.parametrize("written", ["", "Vigie", "Vigie <>", "a@b.example, c@d.example"])
def test_what_is_no_sender(written: str) -> None:
    with pytest.raises(InvalidError):
        SenderAddress.of(written)
