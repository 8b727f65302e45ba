"""Runs the tests that read the clock once more as if today were another date, in a child process."""

import asyncio
import os
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from tests import shifted_clock
from tests.faults.harness import FaultReport, FaultSize

# A run of its own, with its own PostgreSQL.
pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

# What reads the clock, or counts in days; browsers do not run under libfaketime.
_FILES: Final = (
    *(
        "alerts/test_people_api.py",
        "alerts/test_silences_api.py",
        "alerts/test_silence_and_escalation_timers.py",
    ),
    *(
        "environmental_indices/test_indices.py",
        "sound_incidents/test_review_service.py",
        "sound_incidents/test_sound_clustering_worker.py",
    ),
    *("timeseries/erasure", "timeseries/retention", "timeseries/rollups/test_stale_marks.py"),
    *("timeseries/rollups/test_midnights.py", "timeseries/rollups/test_rollup_reads.py"),
    *("timeseries/test_exports_buckets.py", "quarantine/test_entry_writer.py"),
    *("timeseries/test_readings.py", "people/test_purposes.py", "public_register/test_register.py"),
    *("reports/test_reports.py", "privacy_requests/test_requests.py", "rules/test_backtest_silence.py"),
    *("rules/test_complaints.py", "rules/test_index_once.py", "rules/test_index_rules.py"),
    *("rules/test_rule_versions.py", "rules/test_silent_site.py"),
)
_WHOLE: Final = tuple(f"tests/integration/{name}" for name in _FILES)
_SHORT: Final = ("tests/integration/timeseries/retention",)
# All ahead of us: where a clock is behind, PostgreSQL ends waits too early. Each weekday, as
# chunks end on Thursdays; both changes of Paris' clock; minutes around midnight in UTC and in Paris.
_DATES: Final = {
    "monday-after-the-spring-change-00:10-in-paris": "2032-03-29T00:10:00+02:00",
    "tuesday-end-of-a-month": "2032-08-31T12:00:00+00:00",
    "wednesday-23:30-utc-next-month-in-paris": "2032-06-30T23:30:00+00:00",
    "thursday-when-a-chunk-begins": "2032-04-01T00:05:00+00:00",
    "friday-end-of-the-year": "2032-12-31T09:00:00+00:00",
    "saturday-end-of-january": "2032-01-31T18:00:00+00:00",
    "sunday-29-february": "2032-02-29T12:00:00+00:00",
    "sunday-before-the-spring-change": "2032-03-28T00:30:00+00:00",
    "sunday-in-the-hour-that-comes-twice": "2032-10-31T00:30:00+00:00",
    "new-year-in-paris": "2032-12-31T23:30:00+00:00",
}
_NASTIEST: Final = "monday-after-the-spring-change-00:10-in-paris"
_PATIENCE_S: Final = {False: 290, True: 590}
_TAIL: Final = 6_000


def test_the_files_to_run_on_other_dates_exist() -> None:
    assert [path for path in _WHOLE if not Path(path).exists()] == []


def _environment(date: str) -> dict[str, str]:
    # The child is a run of its own, and no worker of this one.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "VIGIE_"))}
    return own | shifted_clock.starting_at(datetime.fromisoformat(date))


async def _run(paths: tuple[str, ...], date: str, workers: int, patience_s: int) -> str:
    """Run tests on a date; gives what the run said last. All must pass."""
    words = ("-m", "pytest", "-n", str(workers), "--dist", "loadfile", "-p", "no:cacheprovider", *paths)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        env=_environment(date),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(patience_s):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
    text = output.decode()
    assert child.returncode == 0, text[-_TAIL:]
    return text


@pytest.mark.parametrize("date", _DATES)
async def test_24_another_date(*, date: str, size: FaultSize, report: FaultReport) -> None:
    """What is tested of days, weeks and months holds on any of them."""
    if not size.long and date != _NASTIEST:
        pytest.skip("in `make faults`")
    paths, workers = size.of((_SHORT, 0), (_WHOLE, 2))
    text = await _run(paths, _DATES[date], workers, _PATIENCE_S[size.long])
    (passed,) = re.findall(r"(\d+) passed.* in (.+)$", text, re.MULTILINE)[-1:]
    report.note(f"24 {date.replace('-', ' ')}: {passed[0]} tests passed in {passed[1]}")
