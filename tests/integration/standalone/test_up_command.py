import asyncio
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import aiomqtt
import asyncpg
import pytest
from typer.testing import CliRunner

from app.processes.cli import app
from tests.integration.standalone.stack import PATIENCE_S, Stack, alive, processes_of, started, until

NO_DEMO = "--no-demo"
# The API's import is the slowest part of a start, and most of these faults do not need it.
SMALL = (NO_DEMO, "--roles", "deliver")


@contextmanager
def long_folder() -> Iterator[Path]:
    """A folder that the services' accounts can reach, with a space and a long name."""
    made = Path(tempfile.mkdtemp(prefix="vigie test "))
    made.chmod(0o755)
    yield made / ("long-" * 20)
    shutil.rmtree(made)


@pytest.fixture
def folder() -> Iterator[Path]:
    with long_folder() as made:
        yield made


class Home:
    """A data directory that several tests start the small stack on: each finds it running, or starts it.

    Attributes:
        data: The directory.
        stack: What was started last, whether it runs still or not.
    """

    def __init__(self, data: Path, enter: Callable[[AbstractContextManager[Stack]], Stack]) -> None:
        self.data = data
        self._enter = enter
        self.stack: Stack | None = None

    def up(self) -> Stack:
        """Have the stack run; what an earlier one said stays before what it says."""
        if self.stack is None or self.stack.process.poll() is not None:
            ready = 0 if self.stack is None else self.stack.said().count("Ready in")
            stack = self.stack = self._enter(started(self.data, *SMALL))
            # The stale file of a killed supervisor goes before a new one comes.
            until(
                lambda: stack.said().count("Ready in") > ready or stack.process.poll() is not None, stack.said
            )
            assert stack.process.poll() is None, stack.said()
        return self.stack


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with long_folder() as data, ExitStack() as all_started:
        yield Home(data, all_started.enter_context)


def witness(url: str, *statements: str) -> object:
    async def talk() -> object:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(talk())


def test_a_whole_stack_starts_serves_and_stops(folder: Path) -> None:
    with started(folder, NO_DEMO) as stack:
        stack.wait_ready()
        run = stack.run
        assert (folder / "run.json").stat().st_mode & 0o777 == 0o600
        assert run["ready"] is True
        assert (run["console"], run["sign_in"]) == (f"{run['api']}/console", None)
        assert list(run["pids"]) == ["postgres", "mosquitto", "api", "ingest", "deliver", "maintain"]
        assert all(alive(pid) for pid in run["pids"].values())
        for page in ("readyz", "docs", "metrics"):
            with urllib.request.urlopen(f"{run['api']}/{page}", timeout=10) as response:  # noqa: S310  # our own
                assert response.status == 200
        request = urllib.request.Request(  # noqa: S310  # our own
            f"{run['api']}/v1/metrics", headers={"Authorization": f"Bearer {run['admin_key']}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  # our own
            assert response.status == 200
        asyncio.run(publish(run["mqtt"]))
        invite_first_owner(folder, stack.said())
        assert (
            witness(run["database"], "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == 1
        )
        assert stack.stop() < 15
        assert stack.process.returncode == 0
        assert not (folder / "run.json").exists()
        assert processes_of(folder) == []
        assert not any(alive(pid) for pid in run["pids"].values())


def invite_first_owner(folder: Path, said: str) -> None:
    """Follow what `vigie up` says to a person who has started an empty installation."""
    (line,) = [line for line in said.splitlines() if "first owner" in line]
    words = shlex.split(line.partition("vigie ")[2])
    assert words == ["invite", "you@example.com", "--data-dir", str(folder)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "#vgi_" in result.stdout.splitlines()[-1]
    refused = CliRunner().invoke(app, ["invite", "nobody", "--data-dir", str(folder)])
    assert refused.exit_code == 1
    assert "the API refused the invitation" in refused.stderr


async def publish(mqtt: dict[str, str]) -> None:
    async with aiomqtt.Client(
        mqtt["host"], int(mqtt["port"]), username=mqtt["username"], password=mqtt["password"], timeout=10
    ) as client:
        await client.publish("vigie/v1/unknown/telemetry", b"{}", qos=1)


def test_a_second_supervisor_on_the_same_directory_is_refused(home: Home) -> None:
    stack = home.up()
    with started(home.data, *SMALL) as second:
        assert second.process.wait(PATIENCE_S) == 2
    assert f"a stack already runs on {home.data} (supervisor: process {stack.process.pid})" in stack.said()
    assert stack.process.poll() is None
    assert all(alive(pid) for pid in stack.pids.values())


def test_two_stacks_run_side_by_side(home: Home, folder: Path) -> None:
    one = home.up()
    with started(folder, *SMALL) as two:
        two.wait_ready()
        assert one.run["database"] != two.run["database"]
        assert not set(one.pids.values()) & set(two.pids.values())
        two.stop()
        assert all(alive(pid) for pid in one.pids.values())


def test_after_a_kill_of_the_supervisor_nothing_runs_and_the_next_start_recovers(home: Home) -> None:
    stack = home.up()
    first = stack.run
    witness(first["database"], "CREATE TABLE found (n int)", "INSERT INTO found VALUES (1) RETURNING n")
    stack.process.kill()
    stack.process.wait()
    until(lambda: processes_of(home.data) == [], lambda: str(processes_of(home.data)))
    assert (home.data / "run.json").exists()
    second = home.up().run
    assert witness(second["database"], "SELECT n FROM found") == 1
    same = ("admin_key", "mqtt", "database")
    assert [second[name] for name in same] == [first[name] for name in same]


def test_services_left_running_are_stopped_before_new_ones_start(home: Home) -> None:
    stack = home.up()
    pids = stack.pids
    # Halted, the server cannot follow its parent: it is still there when the next supervisor looks.
    for name in ("postgres", "mosquitto", "deliver"):
        subprocess.run(["kill", "-STOP", str(pids[name])], check=True)  # noqa: S603, S607  # our own children
    stack.process.kill()
    stack.process.wait()
    assert alive(pids["postgres"])
    stack = home.up()
    assert not any(alive(pid) for pid in pids.values())
    assert all(alive(pid) for pid in stack.pids.values())


def test_crashed_children_come_back_and_the_run_file_tells(home: Home) -> None:
    stack = home.up()
    before = stack.run
    for pid in before["pids"].values():
        subprocess.run(["kill", "-KILL", str(pid)], check=True)  # noqa: S603, S607  # our own children
    until(
        lambda: (
            set(stack.pids) == set(before["pids"])
            and not set(stack.pids.values()) & set(before["pids"].values())
        ),
        stack.said,
    )
    assert stack.run["database"] == before["database"]
    assert witness(before["database"], "SELECT 1") == 1
    assert "postgres ended (-9)" in stack.said()


def test_a_second_interrupt_hastens_the_stop_and_nothing_is_lost(home: Home) -> None:
    stack = home.up()
    run = stack.run
    witness(run["database"], "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1) RETURNING n")
    # A halted role cannot drain, so a patient stop would take its full seven seconds, and then the services'.
    subprocess.run(["kill", "-STOP", str(run["pids"]["deliver"])], check=True)  # noqa: S603, S607
    stack.process.send_signal(signal.SIGINT)
    assert stack.stop(signal.SIGINT) < 7
    assert processes_of(home.data) == []
    assert witness(home.up().run["database"], "SELECT n FROM kept") == 1


def test_a_stop_while_it_starts_leaves_nothing(folder: Path) -> None:
    with started(folder, *SMALL) as stack:
        until(lambda: "PostgreSQL" in stack.said())
        assert stack.stop(signal.SIGINT) < 15
        assert stack.process.returncode == 0
        assert processes_of(folder) == []
    with started(folder, *SMALL) as stack:
        stack.wait_ready()


def test_a_taken_port_is_named_with_the_way_out(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with started(folder, NO_DEMO, "--port", str(port)) as stack:
            assert stack.process.wait(PATIENCE_S) == 1
            assert f"port {port} is taken" in stack.said()
            assert "--port 0" in stack.said()
        assert not folder.exists()
        # What was there before is neither used nor removed.
        folder.mkdir()
        with started(folder, NO_DEMO, "--port", str(port)) as stack:
            assert stack.process.wait(PATIENCE_S) == 1
            assert f"port {port} is taken" in stack.said()
        assert folder.exists()
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    ("arguments", "reason"), [(("--roles", "api,brew"), "not brew"), (("--roles", ","), "not nothing")]
)
def test_unknown_roles_are_refused(folder: Path, arguments: tuple[str, ...], reason: str) -> None:
    folder.parent.mkdir(exist_ok=True)
    with started(folder, *arguments) as stack:
        assert stack.process.wait(PATIENCE_S) == 2
        assert reason in stack.said()
    assert not folder.exists()
