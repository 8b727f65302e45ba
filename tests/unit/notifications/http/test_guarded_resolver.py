import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from app.notifications.http.guarded_resolver import (
    AddressRefusedError,
    GuardedResolver,
    HostLookup,
    ResolvedAddresses,
    resolve_host,
)


def _answers(*addresses: str) -> HostLookup:
    async def ask(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
        del host, port, family
        return [(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in addresses]

    return ask


async def test_allowed_addresses_are_handed_out_as_they_were_checked() -> None:
    guarded = GuardedResolver(allow_private=False, look_up=_answers("93.184.215.14", "2606:4700::1111"))
    found = await guarded.resolve("example.com", 443)
    assert [(result["host"], result["port"], result["family"]) for result in found] == [
        ("93.184.215.14", 443, socket.AF_INET),
        ("2606:4700::1111", 443, socket.AF_INET6),
    ]
    assert {result["hostname"] for result in found} == {"example.com"}


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["93.184.215.14", "::1"], ["fe80::1%1"], ["64:ff9b::1"]],
)
async def test_one_bad_address_refuses_the_name(addresses: Sequence[str]) -> None:
    with pytest.raises(AddressRefusedError, match=r"example\.com resolves to"):
        await GuardedResolver(allow_private=False, look_up=_answers(*addresses)).resolve("example.com", 443)


async def test_no_address_is_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(allow_private=True, look_up=_answers()).resolve("example.com", 443)


@pytest.mark.parametrize("spelling", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost"])
async def test_what_the_system_makes_of_odd_spellings_is_checked_too(spelling: str) -> None:
    with pytest.raises(AddressRefusedError):
        await GuardedResolver(allow_private=False).resolve(spelling, 443, socket.AF_UNSPEC)


async def test_an_impossible_name_is_an_oserror() -> None:
    with pytest.raises(OSError, match="label"):
        await resolve_host("a" * 64 + ".example", 443, socket.AF_INET)


async def test_names_that_hang_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    release, real = threading.Event(), socket.getaddrinfo

    def slow(host: str, port: int, family: int = 0, type: int = 0) -> object:  # noqa: A002 (the real name)
        if host.startswith("slow"):
            release.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        return real(host, port, family, type)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    hanging = [asyncio.create_task(resolve_host(f"slow{n}", 80, socket.AF_INET)) for n in range(50)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(60):
            assert await resolve_host("127.0.0.1", 80, socket.AF_INET) == [(socket.AF_INET, "127.0.0.1")]
    finally:
        release.set()
        ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(end, OSError) for end in ends)
