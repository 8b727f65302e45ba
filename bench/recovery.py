"""Measures memory over time while Vigie drains a large backlog."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.drain import DrainCourse, run
from bench.measure import rss
from bench.results import DrainResult
from bench.stack import BenchStack
from bench.suite import BenchPlan

_SHOWN: Final = 10
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Memory of consumer and broker (bytes), by time since the start of the drain (s)."""

    seconds: float
    consumer: int
    mosquitto: int


@dataclass(frozen=True, slots=True)
class RecoveryRun:
    """A drain with the memory over its time."""

    drain: DrainResult
    moments: tuple[MemoryReading, ...]

    def rows(self) -> list[list[str]]:
        """Return about ten evenly spread rows of the report's table."""
        step = max(1, len(self.moments) // _SHOWN)
        return [
            [
                f"{moment.seconds:.1f} s",
                f"{moment.consumer / _MIB:.0f} MiB",
                f"{moment.mosquitto / _MIB:.0f} MiB",
            ]
            for moment in self.moments[::step]
        ]


HEAD: Final = ["since the consumer started", "ingest role", "Mosquitto"]


async def measure(stack: BenchStack, plan: BenchPlan, *, messages: int) -> RecoveryRun:
    """Drain a backlog of so many messages."""
    moments: list[MemoryReading] = []

    def watch(seconds: float, pids: Mapping[str, int]) -> None:
        moments.append(MemoryReading(seconds, rss(pids["consumer"]), rss(pids["mosquitto"])))

    drain = await run(stack, DrainCourse("e", plan.load(messages)), watch)
    return RecoveryRun(drain, tuple(moments))
