"""Names to addresses, for aiohttp: only to addresses that the guard allows.

Owns the look-up. aiohttp connects to what is returned here and looks nothing up again, so a name that answers
differently the second time gains nothing. It does not ask for hosts that are addresses already:
`guard.check_url` does those.
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
    """A host has an address that nothing may be sent to. An OSError, so that aiohttp hands it on whole."""


async def resolve_host(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
    """Ask the system's resolver, in a thread of its own.

    Neither the event loop's threads (a handful, which names that hang would use up for everybody) nor those
    of a pool (which the end of the process would wait for).
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

    def ask() -> None:
        found: ResolvedAddresses = []
        failure: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            found = [(info[0], str(info[4][0])) for info in infos]
        except OSError as error:
            failure = error
        except ValueError as error:  # a label of more than 63 characters, and the like
            failure = OSError(str(error))
        try:
            loop.call_soon_threadsafe(settle, found, failure)
        except RuntimeError:
            return  # the loop was closed meanwhile: nobody waits

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    return await answer


class GuardedResolver(AbstractResolver):
    """Hands out a name's addresses only if every one of them is allowed.

    Args:
        allow_private: As `guard.refusal` has it.
        ask: How a name is looked up.
    """

    def __init__(self, *, allow_private: bool, ask: HostLookup = resolve_host) -> None:
        self._allow_private = allow_private
        self._ask = ask

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            AddressRefusedError: At least one of its addresses is not allowed: a name that mixes public and
                private ones is an attack or a mistake.
            OSError: It has no address.
        """
        found = await self._ask(host, port, family)
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
        """Nothing is held open."""
