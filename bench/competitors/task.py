"""Passes the task to a competitor's process, and its completion back."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Self

from bench.publisher import BrokerAccount


@dataclass(frozen=True, slots=True)
class CompetitorTask:
    """The task of one drain.

    Attributes:
        messages: how many there are.
        host: the broker's address.
        port: the broker's port.
        username: the broker's account.
        password: its password.
        client_id: whose session holds the backlog.
        filter: the session's subscription.
        database: address of the database.
        start_ms: when the first samples were measured; with `boxes` and `seed` this tells all rows.
        boxes: number of boxes.
        seed: of the load.
    """

    messages: int
    host: str
    port: int
    username: str
    password: str
    client_id: str
    filter: str
    database: str
    start_ms: int
    boxes: int
    seed: int

    @property
    def account(self) -> BrokerAccount:
        """The address and account of the broker."""
        return BrokerAccount(self.host, self.port, self.username, self.password)

    def text(self) -> str:
        """Encode the task as a command-line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def given(cls) -> Self:
        """Return the task of this process."""
        return cls(**json.loads(sys.argv[1]))


def say(word: str) -> None:
    """Tell the measuring process something, with the instant (the monotonic clock is the machine's)."""
    print(json.dumps({word: time.monotonic()}), flush=True)


def wait_for_go() -> None:
    """Say that all is prepared, and wait until the measuring process has read its clocks."""
    say("ready")
    sys.stdin.readline()
