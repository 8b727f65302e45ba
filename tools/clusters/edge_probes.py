"""Inspects an edge's broker without haproxy: its configurations, and whether it accepts a box."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import aiomqtt

from bench.publisher import BrokerAccount
from tools.clusters.cluster_nodes import ClusterError

_CONFIGURATIONS: Final = "vigie/v1/+/config"
_TIMEOUT_S: Final = 10.0
_EVERY_S: Final = 0.1
_REFUSALS: Final = frozenset({4, 5, 134, 135})  # of CONNACK: the account of MQTT 3.1.1 and 5


def _make_client(account: BrokerAccount) -> aiomqtt.Client:
    return aiomqtt.Client(
        account.host,
        account.port,
        username=account.username,
        password=account.password,
        timeout=_TIMEOUT_S,
        max_inflight_messages=1_000,
    )


async def wait_for_configurations(gateway: BrokerAccount, count: int, timeout_s: float) -> None:
    """Wait until a broker has the configurations of so many boxes. It may still be starting.

    Raises:
        ClusterError: It does not in time.
    """
    seen: set[str] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(aiomqtt.MqttError, OSError):
                    async with _make_client(gateway) as client:
                        await client.subscribe(_CONFIGURATIONS)
                        async for message in client.messages:
                            if message.payload:
                                seen.add(message.topic.value)
                            if len(seen) >= count:
                                return
                await asyncio.sleep(_EVERY_S)
    raise ClusterError(f"{gateway.host} has {len(seen)} of {count} configurations after {timeout_s:g} s")


async def is_accepted(account: BrokerAccount) -> bool | None:
    """Return whether a broker accepts an account; None if it does not answer."""
    try:
        async with _make_client(account):
            return True
    except aiomqtt.MqttCodeError as error:
        return False if _read_code(error) in _REFUSALS else None
    except (aiomqtt.MqttError, OSError):
        return None


def _read_code(error: aiomqtt.MqttCodeError) -> int:
    return error.rc if isinstance(error.rc, int) else getattr(error.rc, "value", 0)


@dataclass(slots=True)
class AccountEnd:
    """When a broker ended the access of a box (monotonic seconds).

    Attributes:
        cut_at: When it closed the connection of the box; None: it did not.
        refused_at: When it first refused a further connection; None: it did not.
        is_over: Set after both.
    """

    cut_at: float | None = None
    refused_at: float | None = None
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, *, is_cut: bool) -> None:
        """Note one of the two."""
        if is_cut:
            self.cut_at = time.monotonic()
        else:
            self.refused_at = time.monotonic()
        if self.cut_at is not None and self.refused_at is not None:
            self.is_over.set()

    def count_seconds(self, began: float) -> float | None:
        """Return the seconds until both; None if one did not happen."""
        if self.cut_at is None or self.refused_at is None:
            return None
        return max(self.cut_at, self.refused_at) - began


@asynccontextmanager
async def watch_account(account: BrokerAccount) -> AsyncIterator[AccountEnd]:
    """Hold a connection of a box for the length of a block, and note when its access ends.

    Raises:
        ClusterError: The broker does not accept it now.
    """
    end = AccountEnd()
    connected = asyncio.Event()
    held = asyncio.create_task(_hold(account, end, connected))
    tasks: list[asyncio.Task[object]] = [held, asyncio.create_task(connected.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not connected.is_set():
            raise ClusterError(f"{account.host} does not accept the connection of {account.username}")
        tasks.append(asyncio.create_task(_note_refusal(account, end)))
        yield end
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hold(account: BrokerAccount, end: AccountEnd, connected: asyncio.Event) -> None:
    try:
        async with _make_client(account) as client:
            connected.set()
            async for _ in client.messages:
                pass
    except aiomqtt.MqttError:
        # `watch_account` says that the broker did not accept it.
        if not connected.is_set():
            return
    end.note(is_cut=True)


async def _note_refusal(account: BrokerAccount, end: AccountEnd) -> None:
    while True:
        if await is_accepted(account) is False:
            end.note(is_cut=False)
            return
        await asyncio.sleep(_EVERY_S)


async def measure_stale_access(account: BrokerAccount) -> float:
    """Return for how many seconds a broker that starts accepts an account that ended while it was away."""
    first = last = 0.0
    while (outcome := await is_accepted(account)) is not False:
        if outcome:
            last = time.monotonic()
            first = first or last
        await asyncio.sleep(_EVERY_S)
    return last - first
