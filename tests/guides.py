"""The built guides, for the tests that look at them: built first, unless their sources are unchanged."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.guides.stamp import BUILT, is_current

ROOT: Final = Path(__file__).parents[1]
GUIDES: Final = ROOT / BUILT


def build_guides_once() -> Path:
    """Build the guides in one of the processes of the tests; gives their folder."""
    GUIDES.parent.mkdir(exist_ok=True)
    with (GUIDES.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_current(ROOT):
            done = subprocess.run(
                [sys.executable, "-m", "tools.guides"], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"make docs fails:\n{done.stdout}{done.stderr}"
    return GUIDES
