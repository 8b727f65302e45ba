import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from app.platform.observability.metric_file_preallocation import (
    MULTIPROCESS_VARIABLE,
    trim_metric_files,
)

COUNT = """
from app.platform.observability.metric_file_preallocation import METRICS_SHARED
from app.ingest.prometheus_metrics import SAMPLES_STORED
from app.platform.observability.metrics_and_logs import render_metrics
SAMPLES_STORED.labels("mqtt").inc(3)
assert b'vigie_samples_stored_total{door="mqtt"} 3.0' in render_metrics()
print(METRICS_SHARED)
"""


def _run(folder: Path) -> str:
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", COUNT],
        env={**os.environ, MULTIPROCESS_VARIABLE: str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_files_have_their_room_before_they_are_mapped(tmp_path: Path) -> None:
    assert _run(tmp_path) == "True"
    files = list(tmp_path.glob("*.db"))
    assert len(files) == 5, "one for each kind of figure that the program has"
    for path in files:
        status = path.stat()
        assert status.st_blocks * 512 >= status.st_size > 0, f"{path} is sparse"


def test_a_process_without_room_keeps_its_figures_to_itself(tmp_path: Path) -> None:
    assert _run(tmp_path / "that is not there") == "False"


def _figures(path: Path) -> list[object]:
    return list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]  # no hints


def test_what_a_dead_process_did_not_use_is_given_back(tmp_path: Path) -> None:
    assert _run(tmp_path) == "True"
    (path,) = tmp_path.glob("counter_*.db")
    before = _figures(path)
    trim_metric_files(tmp_path, int(path.stem.removeprefix("counter_")))
    assert path.stat().st_size < 2**15
    assert _figures(path) == before


def test_an_empty_file_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / "counter_7.db").touch()
    trim_metric_files(tmp_path, 7)
    assert list(tmp_path.iterdir()) == []
