from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.http.ssrf_guard import check_url, find_address_refusal
from app.platform.kernel.errors import InvalidError

PUBLIC = [
    "93.184.215.14",
    "1.1.1.1",
    "8.8.8.8",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.1.1",
    "223.255.255.254",
    "2606:4700:4700::1111",
    "2a00:1450:4007:80c::200e",
    "2001:4860:4860::8888",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "fc00::1",
    "fd12:3456::1",
]
NEVER = [
    "0.0.0.0",  # noqa: S104 (an address that must be refused)
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "::8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("text", PUBLIC)
@pytest.mark.parametrize("allow_private", [False, True])
def test_public_addresses_are_allowed(text: str, allow_private: bool) -> None:  # noqa: FBT001 (a parameter)
    assert find_address_refusal(ip_address(text), allow_private=allow_private) is None


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_for_development_only(text: str) -> None:
    assert find_address_refusal(ip_address(text), allow_private=False) is not None
    assert find_address_refusal(ip_address(text), allow_private=True) is None


@pytest.mark.parametrize("text", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_other_addresses_are_never_allowed(text: str, allow_private: bool) -> None:  # noqa: FBT001 (a parameter)
    assert find_address_refusal(ip_address(text), allow_private=allow_private) is not None


@given(st.ip_addresses())
def test_nothing_is_allowed_that_python_calls_not_global(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert find_address_refusal(address, allow_private=False) is not None


@given(st.ip_addresses(v=4))
def test_no_address_with_another_inside_is_allowed(inner: IPv4Address) -> None:
    number = int(inner)
    for text in (
        f"::ffff:{inner}",
        f"::{inner}",
        f"64:ff9b::{inner}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
    ):
        for allow_private in (False, True):
            # ::0.0.0.1 is loopback itself, in another spelling.
            if ip_address(text) != ip_address("::1"):
                assert find_address_refusal(ip_address(text), allow_private=allow_private) is not None, text


GOOD = [
    "https://example.com",
    "https://example.com/",
    "https://example.com/hooks/vigie?tenant=7&x=%2F",
    "https://example.com:443/",
    "https://example.com:8443/hook",
    "https://EXAMPLE.com/Hook",
    "HTTPS://example.com/",
    "https://xn--mnchen-3ya.example/",
    "https://a_b.example.com/",
    "https://example.com./",
    "https://93.184.215.14/hook",
    "https://[2606:4700:4700::1111]/hook",
    "https://[2606:4700:4700::1111]:8443/hook",
    "https://example.com/a@b",
]
BAD = [
    "",
    "example.com",
    "//example.com/",
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript://example.com/",
    "https:example.com",
    "https:/example.com",
    "https://",
    "https:///path",
    "https://?query",
    "https://:443/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com#@127.0.0.1/",
    "https://example.com/#part",
    "https://example.com/#",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/a b",
    " https://example.com/",
    "https://example.com/\n",
    "https://example.com/\x00",
    "https://exa\tmple.com/",
    "https://exämple.com/",
    "https://１２７.0.0.1/",  # noqa: RUF001 (full-width digits, which readers turn into 127)
    "https://127。0。0。1/",
    "https://%31%32%37.0.0.1/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:99999/",
    "https://example.com:999999/",
    "https://example.com:-1/",
    "https://example.com:https/",
    "https://example.com:/",
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:80/",
    "https://exa..mple.com/",
    "https://.example.com/",
    "https://-example.com/",
    f"https://{'a' * 64}.com/",
    f"https://{'a.' * 127}com/",
    f"https://example.com/{'a' * 2048}",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://app.localhost/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://router/",
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://127.0.1/",
    "https://127/",
    "https://0/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0x7f.0.0.1/",
    "https://0X7F.0x0.0x0.0x1/",
    "https://127.0.0.0x1/",
    "https://0177.0.0.1/",
    "https://0177.1/",
    "https://017700000001/",
    "https://127.0.0.01/",
    "https://127.0.0.256/",
    "https://1.2.3.4.5/",
    "https://8.8.8.8.8/",
    "https://256.1/",
    "https://example.0x1/",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[ff02::1]/",
    "https://[1:2]/",
    "https://[]/",
    "https://[::1/",
    "https://::1/",
    "https://[v1.fe80]/",
    "https://[::1]example.com/",
]


@pytest.mark.parametrize("text", GOOD)
def test_good_urls_are_taken(text: str) -> None:
    url = check_url(text, allow_private=False)
    assert url.raw_host is not None


@pytest.mark.parametrize("text", BAD)
def test_bad_urls_are_refused_with_one_code(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_url(text, allow_private=False)
    assert caught.value.code == "webhook_url_not_allowed"
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9000/",
        "http://localhost:9000/hook",
        "https://10.0.0.1/",
        "http://[::1]:9000/",
        "http://receiver:80/",
        "http://192.168.1.4:81/",
    ],
)
def test_private_urls_are_for_development_only(text: str) -> None:
    check_url(text, allow_private=True)
    with pytest.raises(InvalidError):
        check_url(text, allow_private=False)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:password@127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1/#x",
    ],
)
def test_what_nobody_needs_is_refused_even_in_development(text: str) -> None:
    with pytest.raises(InvalidError):
        check_url(text, allow_private=True)


@given(st.text(max_size=60))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"https://{text}", f"https://{text}/", f"https://[{text}]/"):
        try:
            url = check_url(candidate, allow_private=False)
        except InvalidError as error:
            assert error.code == "webhook_url_not_allowed"  # noqa: PT017 (either outcome is right)
        else:
            assert url.scheme == "https"
            assert url.user is None
            assert url.raw_host
