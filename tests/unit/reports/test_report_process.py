import os
import subprocess
import sys

import msgspec
import pytest

from app.reports.report_input import ReportFormat, pack_report_input
from tests.unit.reports.sheet import make_report_input

# As a thread of a library that is unloaded while Python ends.
_CRASH_AT_END = """
import atexit, os, signal
from app.reports import report_process
atexit.register(os.kill, os.getpid(), signal.SIGSEGV)
report_process.main()
"""


@pytest.mark.parametrize(("form", "begins"), [("csv", b""), ("html", b"<!doctype"), ("pdf", b"%PDF")])
def test_a_report_that_was_written_is_not_lost_by_a_crash_at_the_end(
    form: ReportFormat, begins: bytes
) -> None:
    report_input = msgspec.structs.replace(make_report_input(boxes=1), form=form)
    done = subprocess.run(  # noqa: S603  # what this test says itself
        [sys.executable, "-c", _CRASH_AT_END],
        input=pack_report_input(report_input),
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) > 1_000
    assert done.stdout.startswith(begins)
