"""Mails through a real mail server: what arrives, and what the ends of an attempt are called."""

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.email.email_transport import CONNECTIONS, EmailTransport
from app.notifications.email.mail_rendering import render_mail
from app.platform.config.platform_settings import SmtpSettings
from app.platform.kernel.ids import new_id
from tests.integration.notifications.helpers import claim_of
from tests.integration.notifications.mail_servers import (
    ACCOUNT,
    HOST,
    Certificates,
    mailbox,
    part,
    smtp,
)
from tests.unit.notifications.email.bodies import ALERT, RESOLVED, SITES, alert, group

NOW = datetime(2026, 11, 24, 10, 10, 2, tzinfo=UTC)
TO = ["day@ville.example", "night@ville.example"]


def claim(body: object = None, language: str = "fr", **changes: Any) -> LeasedDelivery:  # noqa: ANN401 (fields of a claim)
    mail = render_mail(json.dumps(body or alert()).encode(), language, SITES)
    usual: dict[str, Any] = {
        "kind": "email",
        "url": None,
        "secret": None,
        "target": {"to": TO, "language": language},
        "leased_until": NOW + timedelta(seconds=30),
        "now": NOW,
    }
    return claim_of("", "", mail)._replace(**{**usual, **changes})


async def send(settings: SmtpSettings, claimed: LeasedDelivery | None = None) -> AttemptOutcome:
    async with EmailTransport(settings) as mailer:
        return await mailer.send(claimed or claim(), NOW)


def _troubles(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["error"] for line in logs if line["event"] == "mail_server_trouble"]


async def test_a_mail_arrives_as_text_and_as_html_at_all_recipients_at_once() -> None:
    claimed = claim(alert(description="Fermez les fenêtres : l'air est mauvais."))
    async with mailbox() as server:
        outcome = await send(smtp(server.port), claimed)
    assert (outcome.reason, outcome.status, outcome.body) == ("delivered", 250, "2.0.0 queued as 4711")
    assert outcome.duration_ms > 0
    assert len(server.got) == 1
    assert server.got[0].mail_from == "vigie@ville.example"
    assert server.got[0].rcpt_tos == TO
    assert server.said == ["ville.example"]
    message = server.mails()[0]
    made = json.loads(claimed.body)
    assert message["Subject"] == made["subject"]
    assert part(message, "plain") == made["text"]
    assert part(message, "html") == made["html"]
    assert "Fermez les fenêtres : l'air est mauvais." in made["text"]
    assert [each.addr_spec for each in message["To"].addresses] == TO
    assert message["From"].addresses[0].display_name == "Vigie de la Ville"
    assert message["Message-ID"] == f"<{claimed.message_id}@ville.example>"
    assert message["References"] == f"<alert-{ALERT}@ville.example>"


async def test_a_group_is_one_mail() -> None:
    events = [alert(box=f"box-{number}") for number in range(200)]
    resolved = [alert("resolved", box="over", **RESOLVED)]
    async with mailbox() as server:
        outcome = await send(smtp(server.port), claim(group(*events, *resolved, firing=200, resolved=1)))
    assert outcome.delivered
    assert len(server.got) == 1
    message = server.mails()[0]
    assert message["Subject"].startswith("[Critique] 200 en cours, 1 terminée\xa0: Particules fines")
    assert part(message, "plain").count("\n- [Critique] box-") == 50


async def test_over_starttls_with_an_account(folder: Any) -> None:  # noqa: ANN401 (a path)
    certificates = Certificates(folder)
    async with mailbox(starttls=certificates.context, login=True) as server:
        settings = smtp(
            server.port,
            security="starttls",
            ca_file=certificates.ca_file,
            username=ACCOUNT[0],
            password=ACCOUNT[1],
        )
        assert (await send(settings)).delivered
        with capture_logs() as logs:
            wrong = await send(settings.model_copy(update={"username": "other"}))
            none = await send(settings.model_copy(update={"username": None}))
    assert server.seen == [(True, True)]
    # What the server says to the account is the operator's to read.
    assert (wrong.reason, wrong.status, wrong.body) == ("login_refused", 535, None)
    assert (none.reason, none.status, none.body) == ("login_refused", 530, None)
    assert all(_troubles(logs))
    assert len(_troubles(logs)) == 2


async def test_over_tls_from_the_first_byte_on(folder: Any) -> None:  # noqa: ANN401 (a path)
    certificates = Certificates(folder)
    async with mailbox(tls=certificates.context, login=True) as server:
        settings = smtp(server.port, security="tls", ca_file=certificates.ca_file)
        settings = settings.model_copy(update={"username": ACCOUNT[0]})
        assert (await send(settings)).reason == "login_refused"
        with_password = SmtpSettings.model_validate({**settings.model_dump(), "password": ACCOUNT[1]})
        assert (await send(with_password)).delivered
    assert len(server.got) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_is_not_valid_stops_it(folder: Any, security: str) -> None:  # noqa: ANN401 (a path)
    named = Certificates(folder, "other.example")
    on_first_byte = named.context if security == "tls" else None
    async with mailbox(tls=on_first_byte, starttls=None if on_first_byte else named.context) as server:
        with capture_logs() as logs:
            unknown = await send(smtp(server.port, security=security))
            another = await send(smtp(server.port, security=security, ca_file=named.ca_file))
    for outcome in (unknown, another):
        assert (outcome.reason, outcome.status, outcome.body) == ("tls_failed", None, None)
    assert ["certificate verify failed" in error for error in _troubles(logs)] == [True, True]
    assert not server.got


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_where_tls_is_asked_for_nothing_is_said_without_it(security: str) -> None:
    async with mailbox(login=True) as server:
        outcome = await send(smtp(server.port, security=security, username=ACCOUNT[0], password=ACCOUNT[1]))
    assert outcome.reason == "tls_failed"
    assert not server.got
    assert not server.seen


@pytest.mark.parametrize(
    ("answers", "reason", "status"),
    [
        ({"MAIL": "451 4.3.0 later"}, "mail_deferred", 451),
        ({"MAIL": "421 closing"}, "mail_deferred", 421),
        ({"MAIL": "550 no"}, "mail_refused", 550),
        ({"MAIL": "530 5.7.0 log in first"}, "login_refused", 530),
        ({"DATA": "452 full"}, "mail_deferred", 452),
        ({"DATA": "554 5.7.1 spam"}, "mail_refused", 554),
        (dict.fromkeys(TO, "550 5.1.1 unknown"), "mail_refused", 550),
        ({TO[0]: "550 unknown", TO[1]: "450 greylisted"}, "mail_deferred", 450),
        (dict.fromkeys(TO, "450 greylisted"), "mail_deferred", 450),
        ({TO[0]: "421 closing"}, "mail_deferred", 421),
        ({"DATA": "650 what"}, "response_broken", 650),
    ],
)
async def test_refusals_have_names(answers: dict[str, str], reason: str, status: int) -> None:
    async with mailbox(answers) as server:
        outcome = await send(smtp(server.port))
    assert (outcome.reason, outcome.status) == (reason, status)
    assert (outcome.body is None) == (reason == "login_refused")
    assert not server.got


async def test_taken_for_some_is_delivered_and_says_for_whom_not() -> None:
    async with mailbox({TO[0]: "550 5.1.1 unknown"}) as server:
        outcome = await send(smtp(server.port))
    assert (outcome.reason, outcome.status) == ("delivered", 250)
    assert outcome.body == f"2.0.0 queued as 4711\n{TO[0]}: 550 5.1.1 unknown"
    assert server.got[0].rcpt_tos == [TO[1]]


async def test_only_those_are_written_to_whose_domains_are_allowed_now() -> None:
    target = {"to": ["a@ville.example", "b@other.example"]}
    async with mailbox() as server:
        settings = smtp(server.port, recipient_domains=["ville.example"])
        assert (await send(settings, claim(target=target))).delivered
        refused = await send(settings, claim(target={"to": ["b@other.example"]}))
    assert refused.reason == "address_refused"
    assert [envelope.rcpt_tos for envelope in server.got] == [["a@ville.example"]]
    assert [each.addr_spec for each in server.mails()[0]["To"].addresses] == ["a@ville.example"]


@pytest.mark.parametrize("target", [None, {}, {"to": []}, {"to": ["a@b.example\r\nDATA"]}])
async def test_without_recipients_nothing_is_sent(target: dict[str, Any] | None) -> None:
    async with mailbox() as server:
        assert (await send(smtp(server.port), claim(target=target))).reason == "not_configured"
    assert not server.said


@pytest.mark.parametrize(
    "changes", [{"host": None}, {"sender": "nobody"}, {"security": "tls", "ca_file": "/no/such/file"}]
)
async def test_without_a_mail_server_or_with_settings_that_do_not_fit(changes: dict[str, Any]) -> None:
    assert (await send(smtp(1, **changes))).reason == "not_configured"


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken, capture_logs() as logs:
        taken.bind((HOST, 0))
        outcome = await send(smtp(taken.getsockname()[1]))
        nowhere = await send(smtp(25, host="no-such-host.invalid"))
    # Where the mail server is, is none of its clients' business.
    assert (outcome.reason, outcome.status, outcome.body) == ("connect_failed", None, None)
    assert (nowhere.reason, nowhere.body) == ("name_unresolved", None)
    assert len(_troubles(logs)) == 2
    assert HOST in _troubles(logs)[0]


async def test_a_body_that_is_no_mail_is_our_fault() -> None:
    async with mailbox() as server:
        assert (await send(smtp(server.port), claim()._replace(body=b"{}"))).reason == "internal_error"
    assert not server.got


async def test_no_more_connections_at_once_than_servers_like() -> None:
    async with mailbox() as server:
        server.delay_s = 0.1
        async with EmailTransport(smtp(server.port)) as mailer:
            outcomes = await asyncio.gather(*(mailer.send(claim(), NOW) for _ in range(3 * CONNECTIONS)))
    assert all(outcome.delivered for outcome in outcomes)
    assert server.most == CONNECTIONS
    assert len({message["Message-ID"] for message in server.mails()}) == 3 * CONNECTIONS


async def test_the_wait_for_a_place_is_part_of_the_time() -> None:
    async with mailbox() as server:
        server.delay_s = 0.8
        async with EmailTransport(smtp(server.port)) as mailer:
            short = claim(leased_until=NOW + timedelta(seconds=0.6 / 0.75))
            first = [asyncio.create_task(mailer.send(claim(), NOW)) for _ in range(CONNECTIONS)]
            await asyncio.sleep(0)
            late = await mailer.send(short, NOW)
            assert all(outcome.delivered for outcome in await asyncio.gather(*first))
    assert late.reason == "timeout"
    assert len(server.got) == CONNECTIONS


async def test_an_organisation_sends_so_many_mails_in_an_hour() -> None:
    flood, other = new_id(), new_id()
    one, nobody = {"to": ["a@ville.example"]}, {"to": ["b@ville.example"]}
    async with (
        mailbox({"b@ville.example": "550 5.1.1 unknown"}) as server,
        EmailTransport(smtp(server.port, mails_per_hour=3)) as mailer,
    ):
        # What the server does not take does not count.
        refused = await mailer.send(claim(organisation_id=flood, target=nobody), NOW)
        ours = await asyncio.gather(
            *(mailer.send(claim(organisation_id=flood, target=one), NOW) for _ in range(5))
        )
        more = await mailer.send(claim(organisation_id=flood, target=one), NOW)
        theirs = await mailer.send(claim(organisation_id=other, target=one), NOW)
    assert refused.reason == "mail_refused"
    assert sorted(outcome.reason for outcome in ours) == ["delivered"] * 3 + ["quota_exceeded"] * 2
    assert (more.reason, more.status) == ("quota_exceeded", None)
    assert (
        more.body == "This organisation may send mails to 3 recipients in an hour. The mail waits for room."
    )
    assert more.retry_after_s is not None
    assert 3590 < more.retry_after_s <= 3600
    assert theirs.delivered
    # Nothing was said to the server for those that there was no room for.
    assert (len(server.got), len(server.said)) == (4, 5)


async def test_each_recipient_counts_in_the_hour() -> None:
    one = {"to": ["a@ville.example"]}
    three = {"to": ["a@ville.example", "b@ville.example", "c@ville.example"]}
    organisation = new_id()
    async with mailbox() as server, EmailTransport(smtp(server.port, mails_per_hour=4)) as mailer:
        first = await mailer.send(claim(organisation_id=organisation, target=three), NOW)
        second = await mailer.send(claim(organisation_id=organisation, target=three), NOW)
        single = await mailer.send(claim(organisation_id=organisation, target=one), NOW)
    assert [each.reason for each in (first, second, single)] == ["delivered", "quota_exceeded", "delivered"]
    assert [len(mail.rcpt_tos) for mail in server.got] == [3, 1]


async def test_no_limit_is_no_limit() -> None:
    async with mailbox() as server, EmailTransport(smtp(server.port, mails_per_hour=0)) as mailer:
        outcomes = await asyncio.gather(*(mailer.send(claim(), NOW) for _ in range(5)))
    assert all(outcome.delivered for outcome in outcomes)
