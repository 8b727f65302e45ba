"""Starts the processes of a fleet of boxes (`bench.fleet_client`), and follows their reports.

Each box was registered with `ack`, and has its own account and its own connection.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.load import box_id
from bench.process import FailedError, RunningProcess, python
from simulators.rest_client import ApiClient

_PROCESSES: Final = 2
_PER_CALL: Final = 500
_LOOK_EVERY_S: Final = 0.05


@dataclass(slots=True)
class _Client:
    """A process of boxes, with its last report."""

    running: RunningProcess
    said: dict[str, float] = field(default_factory=dict)

    async def listen(self) -> None:
        stream = self.running.process.stdout
        while stream is not None and (line := await stream.readline()):
            self.said = json.loads(line)

    async def tell(self, word: str) -> None:
        if self.running.process.stdin is not None:
            self.running.process.stdin.write(f"{word}\n".encode())
            await self.running.process.stdin.drain()


class FleetClients:
    """All processes of boxes."""

    def __init__(self, clients: Sequence[_Client]) -> None:
        self._clients = clients

    def begun(self) -> bool:
        """Return whether each process has reported."""
        return all(client.said for client in self._clients)

    def total(self, name: str) -> int:
        """Return the sum of a counter of `FleetCounts` over all processes."""
        return round(sum(client.said.get(name, 0) for client in self._clients))

    async def tell(self, word: str) -> None:
        """Send a command to each process: `go`, `go SECONDS`, `send`, `send SECONDS` or `hush`."""
        for client in self._clients:
            await client.tell(word)

    async def until(self, holds: Callable[[], bool], within_s: float, what: str) -> float:
        """Wait until something holds; returns the instant.

        Raises:
            FailedError: It does not in time, or a process ended.
        """
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                raise FailedError(f"After {within_s:.0f} s {what}: {self._shown()}.")
            for client in self._clients:
                client.running.check()
            await asyncio.sleep(_LOOK_EVERY_S)
        return time.monotonic()

    async def until_settled(self, within_s: float) -> None:
        """Wait until Vigie has named each sample that was made, as committed or as refused.

        Raises:
            FailedError: It does not in time.
        """
        asked = time.monotonic()

        def is_settled() -> bool:
            # A report from before the call may miss the newest samples.
            return all(client.said.get("at", 0.0) > asked for client in self._clients) and (
                self.total("named") + self.total("rejected") == self.total("made")
            )

        await self.until(is_settled, within_s, "not all is named")

    def _shown(self) -> str:
        return ", ".join(f"{self.total(name):,} {name}" for name in ("connected", "made", "named", "refused"))


async def register_fleet(
    client: ApiClient, boxes: int, sites: Sequence[str], interval_s: float
) -> list[tuple[int, str]]:
    """Register boxes with `ack`, dealt out to the sites; returns their indexes and passwords."""
    found = []
    for start in range(0, boxes, _PER_CALL):
        indexes = range(start, min(start + _PER_CALL, boxes))
        listed = [
            {
                "id": box_id(index),
                "site_id": sites[index % len(sites)],
                "interval_s": round(interval_s),
                "ack": True,
            }
            for index in indexes
        ]
        answer = await client.call("POST", "/v1/boxes/bulk", {"boxes": listed})
        passwords = {box["id"]: box["credentials"]["password"] for box in answer["data"]}
        found += [(index, passwords[box_id(index)]) for index in indexes]
    return found


@asynccontextmanager
async def run_fleet_clients(
    folder: Path,
    address: tuple[str, int],
    environment: Mapping[str, str],
    boxes: Sequence[tuple[int, str]],
    period_s: float,
    *,
    more: Mapping[str, object] | None = None,
) -> AsyncIterator[FleetClients]:
    """Run the processes of a fleet for the length of a block. They wait for `go`.

    Args:
        folder: Where their tasks and logs go.
        address: Host and port of the broker.
        environment: The whole environment of the processes.
        boxes: Indexes and passwords.
        period_s: Each box sends once in this time.
        more: Further fields of their tasks, see `bench.fleet_client`.
    """
    async with AsyncExitStack() as processes:
        found, listening = [], []
        for number in range(_PROCESSES):
            task = folder / f"fleet-{number}.json"
            mine = boxes[number::_PROCESSES]
            text = {"host": address[0], "port": address[1], "period_s": period_s}
            text |= {"seed": number, "boxes": mine, **(more or {})}
            task.touch(mode=0o600)
            task.write_text(json.dumps(text), encoding="utf-8")
            running = await processes.enter_async_context(
                python(
                    *("bench.fleet_client", str(task)),
                    environment=environment,
                    log=folder / f"fleet-{number}.log",
                    piped=True,
                )
            )
            found.append(_Client(running))
            listening.append(asyncio.create_task(found[-1].listen()))
        try:
            yield FleetClients(found)
        finally:
            for task_ in listening:
                task_.cancel()
