import os
import subprocess
import sys
from pathlib import Path

LOG = """
import sys
from app.platform.observability.metrics_and_logs import LOG_LINES_LOST, configure_logging, get_logger
from app.platform.config.platform_settings import LogSettings
configure_logging(LogSettings(), role="api")
get_logger("test").warning("lost", reason="no room")
sys.stderr.write(str(LOG_LINES_LOST._value.get()))
"""


def test_a_log_line_without_room_is_counted_and_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-c", LOG],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "1.0")
