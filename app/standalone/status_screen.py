"""Shows the progress and the metrics of `vigie up`.

It is a live table on a terminal, and plain lines elsewhere. A closed pipe does not disturb the stack.
"""

import contextlib
import time
from collections import deque
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.standalone.data_directory import DemoAccess, StackAddresses, build_console_url
from app.standalone.traffic_counts import StackMetrics

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 1.0
UNKNOWN = "-"
_EVENTS_SHOWN = 4
_DEMO_CITY = "Toulouse, simulated; Aberdeen, replay of 10 March 2019"
_SIGN_IN = ("sign in as", "password")
_CHANGED = "the one that you chose"
INVITE = "uv run vigie invite you@example.com"
"""The command that invites the first person."""
_GONE = (BrokenPipeError, OSError, ValueError)


@dataclass(slots=True)
class MessageRate:
    """Messages per second, from totals that start at zero again when a process restarts."""

    _total: float | None = None
    _at: float = 0.0

    def next(self, total: float | None, at_s: float) -> float | None:
        """Return the rate since the previous call; None at the first call."""
        before, since = self._total, at_s - self._at
        self._total, self._at = total, at_s
        if total is None or before is None or since <= 0:
            return None
        return max(0.0, total - before) / since


def format_total(value: float | None) -> str:
    """Format a total with thousands separators; a dash if it is unknown."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def build_metric_rows(figures: StackMetrics | None, rate: float | None) -> list[tuple[str, str]]:
    """Return name and value of each metric. Pure."""
    seen = figures or StackMetrics()
    delivered = ", ".join(f"{format_total(n)} {outcome}" for outcome, n in sorted(seen.deliveries.items()))
    return [
        ("messages/s", format_total(rate)),
        ("samples stored", format_total(seen.stored)),
        ("duplicates", format_total(seen.duplicates)),
        ("quarantined", format_total(seen.quarantined)),
        ("alerts firing", format_total(seen.firing)),
        ("webhooks", delivered or UNKNOWN),
    ]


class PipeSafeConsole(Console):
    """A console that stays silent after its pipe was closed, instead of ending the program."""

    def on_broken_pipe(self) -> None:
        """Stop printing."""
        self.quiet = True


class StartupScreen:
    """The output of the supervisor.

    Attributes:
        demo: the access to the demo city, shown once it is known; None: there is no demo.
        admin_key: the administrator's key, if it changed since the start.

    Args:
        console: the terminal or file; by default the standard output.
        invite: the command that invites the first person, shown if there is no demo.
    """

    def __init__(self, console: Console | None = None, *, invite: str = INVITE) -> None:
        self._console = console or PipeSafeConsole(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._rate = MessageRate()
        self._addresses: StackAddresses | None = None
        self._invite = invite
        self.demo: DemoAccess | None = None
        self.admin_key: str | None = None
        self._demo_shown: list[tuple[str, str]] = []
        self._began = time.monotonic()

    @property
    def every_s(self) -> float:
        """The interval between calls of `update` (seconds)."""
        return LIVE_EVERY_S if self._console.is_terminal else PLAIN_EVERY_S

    def say(self, line: str) -> None:
        """Show one line."""
        with contextlib.suppress(*_GONE):
            if self._live is None:
                self._console.print(Text(line))
                return
            self._events.append(f"{time.strftime('%H:%M:%S')}  {line}")

    def ready(self, addresses: StackAddresses) -> None:
        """Show the addresses, and metrics from now on."""
        self._addresses = addresses
        self.say(f"Ready in {time.monotonic() - self._began:.1f} s. Ctrl-C stops everything.")
        if not self._console.is_terminal:
            self._demo_shown = self._list_demo()
            for name, value in self._list_addresses():
                self._say_value(name, value)
            return
        with contextlib.suppress(*_GONE):
            # Without a refresh thread, since the supervisor forks children.
            self._live = Live(self._table(None, None), console=self._console, auto_refresh=False)
            self._live.start(refresh=True)

    def update(self, figures: StackMetrics | None, at_s: float) -> None:
        """Show new metrics, read at `at_s` on any monotonic clock (seconds)."""
        rate = self._rate.next(figures.messages if figures else None, at_s)
        with contextlib.suppress(*_GONE):
            if self._live is not None:
                self._live.update(self._table(figures, rate), refresh=True)
            elif self._addresses is not None:
                self._say_demo()
                self.say(" · ".join(f"{value} {name}" for name, value in build_metric_rows(figures, rate)))

    def _say_demo(self) -> None:
        """Show the access to the demo city, once it is known or if it has changed."""
        demo = self._list_demo()
        if demo != self._demo_shown and demo:
            self._demo_shown = demo
            for name, value in demo:
                self._say_value(name, value)

    def _say_value(self, name: str, value: str) -> None:
        self.say(f"  {name:<16}{value}")

    def close(self) -> None:
        """End the live table, and leave its last state on the screen."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(*_GONE):
                live.stop()

    def _list_addresses(self) -> list[tuple[str, str]]:
        if self._addresses is None:
            return []
        addresses = self._addresses
        pages = {"API": "", "Swagger UI": "/docs", "public register": "/public"} if addresses.api else {}
        web = [(name, f"{addresses.api}{path}") for name, path in pages.items()]
        mqtt = f"{addresses.mqtt_host}:{addresses.mqtt_port} ({addresses.mqtt_username})"
        keys = [("MQTT", mqtt), ("admin key", self.admin_key or addresses.admin_key)]
        demo = self._list_demo()
        sign_in = [row for row in demo if row[0] in _SIGN_IN]
        rest = [row for row in demo if row[0] not in _SIGN_IN]
        return [*self._list_console(), *sign_in, *web, *keys, *rest]

    def _list_console(self) -> list[tuple[str, str]]:
        """List the address of the console, and how the first person gets in."""
        console = build_console_url(self._addresses.api) if self._addresses else None
        if console is None:
            return []
        if self.demo is None:
            return [("console", console), ("first owner", self._invite)]
        if self.demo.email is None:
            console += " (the sign-in follows, once the demo city is set up)"
        return [("console", console)]

    def _list_demo(self) -> list[tuple[str, str]]:
        """List the access to the demo city, the sign-in first; nothing before the demo has created it."""
        demo = self.demo
        if demo is None or demo.email is None:
            return []
        sign_in = [("sign in as", demo.email), ("password", demo.password or _CHANGED)]
        return [*sign_in, *([("demo key", demo.key), ("demo city", _DEMO_CITY)] if demo.key else [])]

    def _table(self, figures: StackMetrics | None, rate: float | None) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2), title="Vigie", title_justify="left")
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in [*self._list_addresses(), ("", ""), *build_metric_rows(figures, rate)]:
            table.add_row(name, value)
        for event in self._events:
            table.add_row("", Text(event, style="yellow"))
        return table
