import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.standalone.free_ports import choose_range, find_free_port, is_port_free
from app.standalone.orphan_processes import MARKER, find_marked_orphans, stop_marked_orphans
from app.standalone.parent_make_monitor import MakeWatch
from app.standalone.unprivileged_accounts import (
    StandaloneError,
    build_run_as_command,
    can_reach,
    find_service_account,
)


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert not is_port_free(port)
        assert find_free_port(port) != port


def test_a_remembered_port_is_taken_again() -> None:
    port = find_free_port()
    assert is_port_free(port)
    assert find_free_port(port) == port


def test_no_port_is_chosen_twice() -> None:
    """Several are chosen before the first server listens: by chance two of them would have one port."""
    ports = [find_free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)


def test_no_port_is_chosen_that_another_process_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = (
        "from app.standalone.free_ports import find_free_port; print(find_free_port(), flush=True); input()"
    )
    with subprocess.Popen(  # noqa: S603 (this interpreter)
        [sys.executable, "-c", choose], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        offered = iter([theirs, theirs + 1, theirs + 2, theirs + 3])
        monkeypatch.setattr("random.randint", lambda *_: next(offered))
        assert is_port_free(theirs)
        assert find_free_port() > theirs
        other.communicate("\n")
    monkeypatch.setattr("random.randint", lambda *_: theirs)
    assert find_free_port() == theirs


@pytest.mark.parametrize(
    ("ephemeral", "chosen"),
    [
        ("32768\t60999\n", (20_000, 32_000)),
        ("30000\t60999\n", (20_000, 29_999)),
        ("10000\t65000\n", (4_999, 9_999)),
        ("1024\t65535\n", (20_000, 32_000)),
    ],
)
def test_a_port_is_chosen_where_no_outgoing_connection_can_take_it(
    ephemeral: str, chosen: tuple[int, int]
) -> None:
    assert choose_range(ephemeral) == chosen


def test_the_service_account_is_ours_unless_we_are_root() -> None:
    account = find_service_account("no-such-account", "nobody")
    if os.geteuid() == 0:
        assert account is not None
        assert account.name == "nobody"
        with pytest.raises(StandaloneError, match="no-such-account"):
            find_service_account("no-such-account")
    else:
        assert account is None


def test_root_is_never_a_service_account() -> None:
    if os.geteuid() == 0:
        with pytest.raises(StandaloneError):
            find_service_account("root")
    else:
        assert find_service_account("root") is None


def test_reach_is_asked_of_the_system(tmp_path: Path) -> None:
    account = find_service_account("nobody")
    assert can_reach(account, Path("/"))
    tmp_path.chmod(0o700)
    assert can_reach(account, tmp_path) is (account is None)


def test_a_child_dies_with_its_parent() -> None:
    inner = build_run_as_command(None, ["sleep", "60"], death_signal="KILL")
    code = (
        f"import subprocess, time; p = subprocess.Popen({inner!r}); print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(  # noqa: S603  # code of ours
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Only once setpriv has become the program is the signal asked for.
        _until(lambda: Path(f"/proc/{child}/comm").read_text().strip() == "sleep")
        parent.kill()
    _until(lambda: not _alive(child))


async def test_leftovers_are_known_by_their_marker_and_strangers_are_left_alone(tmp_path: Path) -> None:
    marker = f"test@{tmp_path}"
    ours = subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: marker})  # noqa: ASYNC220, S607
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: f"{marker}-2"})  # noqa: ASYNC220, S607
    try:
        _until(lambda: find_marked_orphans(marker) == [ours.pid])
        assert await stop_marked_orphans(marker) == [ours.pid]
        assert ours.wait(60) == -signal.SIGTERM
        assert other.poll() is None
        assert await stop_marked_orphans(marker) == []
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_make_that_keeps_an_interrupt_for_itself_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("wait:\n\t@exec sleep 60\n")
    # Its children are in the group, so that they can be ended together; the interrupt goes to make alone.
    # A shell that runs the tests in the background has them ignore interrupts, and make would inherit that.
    command = ["env", "--default-signal=INT", "make", "wait"]
    make = subprocess.Popen(  # noqa: S603  # no shell, and the words are ours
        command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        _until(lambda: Path(f"/proc/{make.pid}/comm").read_text() == "make\n" and _has_child(make.pid))
        watch = MakeWatch(make.pid)
        assert not watch.is_stop_requested()
        make.send_signal(signal.SIGINT)
        _until(watch.is_stop_requested)
        assert make.poll() is None
    finally:
        os.killpg(make.pid, signal.SIGKILL)
        make.wait()


def test_other_parents_are_not_watched() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])  # noqa: S607
    watch = MakeWatch(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert not watch.is_stop_requested()


def _has_child(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _until(condition: object, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():  # type: ignore[operator]  # any callable
        assert time.monotonic() < deadline
        time.sleep(0.02)
