"""Runs the parts of a benchmark in order, with the competitors in random order."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from bench.drain import DrainCourse, run
from bench.load import MessageLoad
from bench.results import DrainResult, middle
from bench.stack import BenchStack

_DAY_MS: Final = 86_400_000
# At a few hundred messages a second the rate is what counts.
_TUTORIAL_MESSAGES: Final = 3_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The options of a run.

    Attributes:
        messages: of the backlog.
        boxes: that sent it.
        repeat: how often each competitor drains; medians are reported.
        letters: which competitors.
        seed: of values and of the order.
    """

    messages: int
    boxes: int
    repeat: int
    letters: str
    seed: int

    def load(self, messages: int | None = None, boxes: int | None = None) -> MessageLoad:
        """A backlog of yesterday's samples."""
        start_ms = int(time.time()) * 1000 - _DAY_MS
        return MessageLoad(messages or self.messages, boxes or self.boxes, start_ms, self.seed)


def format_drain(drain: DrainResult) -> str:
    """Format a drain as a line of progress."""
    if drain.failure is not None:
        return f"({drain.letter}) failed: {drain.failure}"
    cpu = ", ".join(f"{name} {drain.cpu_us(name):.1f}" for name in drain.cpu)
    return f"({drain.letter}) {drain.rate:,.0f} messages/s; CPU µs/message: {cpu}"


async def compare_consumers(stack: BenchStack, plan: BenchPlan, say: Say) -> list[DrainResult]:
    """Drain the backlog with each competitor; gives the medians, by letter."""
    order = list(plan.letters) * plan.repeat
    random.Random(plan.seed + time.time_ns()).shuffle(order)
    found: dict[str, list[DrainResult]] = {letter: [] for letter in sorted(plan.letters)}
    for letter in order:
        messages = min(plan.messages, _TUTORIAL_MESSAGES) if letter == "c" else plan.messages
        drain = await run(stack, DrainCourse(letter, plan.load(messages)))
        say(format_drain(drain))
        found[letter].append(drain)
    return [middle(drains) for drains in found.values()]


@dataclass(frozen=True, slots=True)
class FleetSize:
    """A fleet that (e) is measured with.

    Attributes:
        boxes: how many.
        sites: on so many sites.
        rules_per_site: on each.
    """

    boxes: int
    sites: int
    rules_per_site: int

    @property
    def rules(self) -> int:
        """The number of all rules."""
        return self.sites * self.rules_per_site


SIZES: Final = (
    FleetSize(100, 10, 20),
    FleetSize(1_000, 10, 20),
    FleetSize(10_000, 10, 20),
    FleetSize(1_000, 10, 0),
    FleetSize(1_000, 500, 20),
    FleetSize(1_000, 10, 1_000),
)
"""From 100 to 10,000 boxes; from 0 to 10,000 rules, spread widely and densely."""


async def measure_fleet_sizes(
    stack: BenchStack, plan: BenchPlan, say: Say, sizes: Iterable[FleetSize] = SIZES
) -> list[tuple[FleetSize, DrainResult]]:
    """Measure Vigie's rate by numbers of boxes and rules."""
    found = []
    for size in sizes:
        load = plan.load(boxes=size.boxes)
        drains = []
        for _ in range(plan.repeat):
            course = DrainCourse("e", load, size.rules_per_site, size.sites)
            drains.append(await run(stack, course))
        drain = middle(drains)
        say(f"{size.boxes} boxes, {size.rules} rules: {format_drain(drain)}")
        found.append((size, drain))
    return found


_HIGH: Final = {"metric": "pm2_5", "operator": ">", "threshold": 10_000}
KINDS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "nothing else": (),
    "silence of a box and of a metric": ({"no_data": "P1D"}, {"no_data": "P1D", "metric": "pm2_5"}),
    "two metrics at once": ({"all": [_HIGH, {"metric": "laeq", "operator": ">", "threshold": 190}]},),
    "mean over an hour": ({**_HIGH, "function": "mean", "window": "PT1H"},),
    "energy mean over eight hours": (
        {"metric": "laeq", "operator": ">", "threshold": 190, "function": "energy_mean", "window": "PT8H"},
    ),
    "half of a site's boxes": ({"boxes": _HIGH, "share": 50},),
}
"""Additional rules, by label."""


async def measure_rule_kinds(stack: BenchStack, plan: BenchPlan, say: Say) -> list[tuple[str, DrainResult]]:
    """Measure Vigie's rate with additional rules that must evaluate every sample."""
    found = []
    for name, further in KINDS.items():
        course = DrainCourse("e", plan.load(), further=further)
        drain = middle([await run(stack, course) for _ in range(plan.repeat)])
        say(f"{name}: {format_drain(drain)}")
        found.append((name, drain))
    return found
