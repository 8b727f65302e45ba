"""Says which release runs: the version, and the commit that it was made of."""

import json
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from app import __version__

_ROOT = Path(__file__).parents[3]
_BAKED = Path(__file__).parents[2] / "commit.txt"
_PATIENCE_S = 5.0
_LENGTH = 12


@cache
def current_commit() -> str | None:
    """Find the commit, in twelve digits; `-dirty` behind it: files differ. None where nothing tells.

    A package has it from its build (`deploy/build_hook.py`), a clone from git, and what pip or uv installed
    from a repository from the record of that.
    """
    return _baked() or _of_clone(_ROOT) or _installed()


def describe_release() -> str:
    """Write the version with its commit, as `vigie version` prints it."""
    commit = current_commit()
    return f"{__version__} ({'commit unknown' if commit is None else commit})"


def _baked() -> str | None:
    return (_BAKED.read_text(encoding="ascii").strip()[:_LENGTH] or None) if _BAKED.is_file() else None


def _of_clone(root: Path) -> str | None:
    # Of a package in somebody's environment the folder above may be another project's clone.
    git = shutil.which("git")
    if git is None or not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return None
    # Whoever runs this program runs this folder's code anyway: that it is another user's is no obstacle.
    asked = ["describe", "--always", "--dirty", f"--abbrev={_LENGTH}", "--exclude=*"]
    command = [git, "-c", f"safe.directory={root}", "-C", str(root), *asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)  # noqa: S603 (no shell, and the arguments are our own)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _installed() -> str | None:
    try:
        record = metadata.distribution("vigie").read_text("direct_url.json")
        commit = json.loads(record or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return commit[:_LENGTH] if isinstance(commit, str) else None
