from email.headerregistry import Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.email.allowed_recipients import MAX_RECIPIENTS, check_recipients, is_allowed_recipient
from app.platform.kernel.email_addresses import normalise_email_address
from app.platform.kernel.errors import InvalidError


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com",
        "night.shift+vigie@mail.example.com",
        "o'brien@example.com",
        "x@xn--bcher-kva.example",
        "x#$&'*+/?=^_`{}~-@example.com",
        "a" * 64 + "@example.com",
    ],
)
def test_what_is_in_use_is_taken(address: str) -> None:
    assert check_recipients([address], []) == [address]


@pytest.mark.parametrize(
    "address",
    [
        *("", "@", "a", "a@", "@example.com", "a b@example.com", "a@b@example.com", '"a b"@example.com'),
        *(
            "a@example.com\r\nRCPT TO:<b@example.com>",
            "a@example.com\n",
            "a@example.com\0",
            "<a@example.com>",
        ),
        *(
            "a@example.com, b@example.com",
            "A <a@example.com>",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@example..com",
        ),
        *(
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@-example.com",
            "a@example-.com",
            "a@.com",
        ),
        *(
            "a%b@example.com",
            "a!b@example.com",
            "a|b@example.com",
            "=?utf-8?q?a?=@example.com",
            "a=?@example.com",
        ),
        *("root@localhost", "a@b"),
        *("é@example.com", "a@bücher.example", "a@example.com\u202e", "a@example.com."),
        *("a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@" + "b.c" * 90),
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check_recipients([address], [])
    assert refused.value.code == "invalid_email_address"
    assert refused.value.detail.isprintable()


def test_a_letter_that_is_not_taken_is_shown_as_it_was_written() -> None:
    with pytest.raises(InvalidError) as refused:
        check_recipients(["a@example.com", "équipe@example.com"], [])
    assert refused.value.detail.startswith("body.to.1: 'équipe@example.com' is not an e-mail address")
    (fault,) = refused.value.extra["errors"]
    assert (fault["field"], fault["code"]) == ("body.to.1", "invalid_email_address")


def test_how_many_there_may_be() -> None:
    many = [f"a{number}@example.com" for number in range(MAX_RECIPIENTS + 1)]
    assert check_recipients(many[:-1], []) == many[:-1]
    for wrong in ([], many):
        with pytest.raises(InvalidError) as refused:
            check_recipients(wrong, [])
        assert refused.value.code == "invalid_email_address"


def test_a_domain_without_a_dot_has_to_be_named() -> None:
    assert check_recipients(["root@Mailhost"], ["mailhost"]) == ["root@mailhost"]
    # Who mails come from may be anywhere.
    assert normalise_email_address("vigie@localhost") == "vigie@localhost"


def test_each_is_written_to_once_and_domains_have_no_case() -> None:
    assert check_recipients(["A@Example.COM", "a@example.com", "A@example.com"], []) == [
        "A@example.com",
        "a@example.com",
    ]


def test_domains_are_those_named_and_not_theirs_beneath() -> None:
    domains = ["Example.com", " ville.example "]
    assert check_recipients(["a@EXAMPLE.com", "b@ville.example"], domains)
    for address in ("a@mail.example.com", "a@notexample.com", "a@example.com.evil.example"):
        assert not is_allowed_recipient(address, domains)
        with pytest.raises(InvalidError) as refused:
            check_recipients(["b@ville.example", address], domains)
        assert refused.value.code == "recipient_domain_not_allowed"


@given(st.text(max_size=300))
def test_whatever_is_taken_fits_in_a_header_and_in_a_command(text: str) -> None:
    try:
        taken = normalise_email_address(text)
    except InvalidError:
        return
    assert taken.isascii()
    assert taken.isprintable()
    assert not set(taken) & set(' <>",;:\\()[]%!|')
    assert Address(addr_spec=taken).addr_spec == taken
