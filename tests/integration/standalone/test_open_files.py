"""How many boxes may be connected to the private broker: as many as the system lets it open files."""

import resource
from pathlib import Path

from app.standalone.private_mosquitto import PrivateMosquitto


def limits_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text(encoding="ascii")


async def test_the_broker_is_not_held_to_what_a_login_may_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1_000), hard))
    try:
        async with PrivateMosquitto(tmp_path, accounts={"gateway": "secret"}) as broker:
            limits = limits_of(broker.pid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    enough = 2**20 if hard == resource.RLIM_INFINITY else min(hard, 2**20)
    assert line.split()[3:5] == [str(enough), "unlimited" if hard == resource.RLIM_INFINITY else str(hard)]
