import os
import signal
import sys
import time
from pathlib import Path

from app.standalone.child_process import ChildProcess, StopStep, read_log_tail, rotate_log

SLEEP = "import time; time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
PARENT = f"import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); {SLEEP}"


async def python(code: str, log: Path) -> ChildProcess:
    return await ChildProcess.start([sys.executable, "-c", code], environment={"NAME": "value"}, log=log)


async def test_output_and_environment_reach_the_log(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = await python("import os, sys; print(os.environ['NAME']); sys.stderr.write('err')", log)
    assert await child.wait() == 0
    assert log.read_text() == "value\nerr" or log.read_text() == "errvalue\n"
    assert log.stat().st_mode & 0o777 == 0o600


async def test_stop_ends_a_willing_child_at_once(tmp_path: Path) -> None:
    child = await python(SLEEP, tmp_path / "log")
    started = time.monotonic()
    assert await child.stop((StopStep(signal.SIGTERM, 60.0),)) == -signal.SIGTERM
    assert time.monotonic() - started < 30


async def test_stop_uses_force_when_patience_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = await python(DEAF, log)
    while "deaf" not in read_log_tail(log):
        time.sleep(0.01)  # noqa: ASYNC251  # nothing else runs here
    assert await child.stop((StopStep(signal.SIGTERM, 0.3),)) == -signal.SIGKILL


async def test_stop_reaches_a_child_that_is_halted(tmp_path: Path) -> None:
    child = await python(SLEEP, tmp_path / "log")
    child.send(signal.SIGSTOP)
    assert await child.stop((StopStep(signal.SIGTERM, 30.0),)) == -signal.SIGTERM


async def test_grandchildren_do_not_outlive_a_stop(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = await python(PARENT, log)
    while not read_log_tail(log):
        time.sleep(0.01)  # noqa: ASYNC251  # nothing else runs here
    grandchild = int(read_log_tail(log))
    await child.stop()
    deadline = time.monotonic() + 60
    while _alive(grandchild):
        assert time.monotonic() < deadline


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_a_child_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    child = await python(SLEEP, tmp_path / "log")
    assert os.getsid(child.pid) == child.pid
    await child.stop()


def test_a_small_log_is_not_rotated(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 10)
    rotate_log(log, limit=10)
    assert log.exists()


def test_large_logs_are_rotated_and_three_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for number in range(5):
        log.write_text(f"{number}" * 11)
        rotate_log(log, limit=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log.1", "a.log.2", "a.log.3"]
    assert (tmp_path / "a.log.1").read_text().startswith("4")


def test_tail_gives_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert read_log_tail(log) == ""
    log.write_bytes(b"one\ntwo\n\xff three\n")
    assert read_log_tail(log, lines=2) == "two\n\ufffd three"
