"""Resolves host names for aiohttp, only to addresses that the SSRF guard allows.

aiohttp connects to the returned addresses without a second look-up, which prevents DNS rebinding. It does not
resolve hosts that are addresses; `ssrf_guard.check_url` checks them.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from app.notifications.http.ssrf_guard import find_address_refusal

type ResolvedAddresses = list[tuple[socket.AddressFamily, str]]
type HostLookup = Callable[[str, int, socket.AddressFamily], Awaitable[ResolvedAddresses]]


class AddressRefusedError(OSError):
    """A host has a forbidden address. An OSError, so that aiohttp passes it on unchanged."""


async def resolve_host(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
    """Resolve a name with the system's resolver, in a separate thread.

    Look-ups that hang would use up the few threads of the event loop's executor, and the end of the process
    would wait for those of a pool.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[ResolvedAddresses] = loop.create_future()

    def settle(found: ResolvedAddresses, error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        found: ResolvedAddresses = []
        failure: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            found = [(info[0], str(info[4][0])) for info in infos]
        except OSError as error:
            failure = error
        except ValueError as error:  # a label of more than 63 characters, for example
            failure = OSError(str(error))
        try:
            loop.call_soon_threadsafe(settle, found, failure)
        except RuntimeError:
            return  # the loop is closed

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    return await answer


class GuardedResolver(AbstractResolver):
    """Resolves a name only if every one of its addresses is allowed.

    Args:
        allow_private: As for `find_address_refusal`.
        look_up: Resolves a name.
    """

    def __init__(self, *, allow_private: bool, look_up: HostLookup = resolve_host) -> None:
        self._allow_private = allow_private
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            AddressRefusedError: At least one of its addresses is forbidden: a name that mixes public and
                private addresses is an attack or a mistake.
            OSError: The name has no address.
        """
        found = await self._look_up(host, port, family)
        if not found:
            raise OSError(f"{host} has no address")
        for _, text in found:
            why = find_address_refusal(ip_address(text), allow_private=self._allow_private)
            if why is not None:
                raise AddressRefusedError(f"{host} resolves to {text}, which {why}")
        numeric: Any = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=text, port=port, family=kind, proto=0, flags=numeric)
            for kind, text in found
        ]

    async def close(self) -> None:
        """Do nothing: no resource is open."""
