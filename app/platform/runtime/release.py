"""Finds the version and the commit of the running program."""

import asyncio
import json
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from app import __version__
from app.platform.observability.metric_types import Gauge

BUILD_INFO = Gauge(
    "vigie_build_info",
    "1 for each process role that runs, with its version and commit",
    ["role", "version", "commit"],
    multiprocess_mode="livemax",
)
_ROOT = Path(__file__).parents[3]
_BAKED = Path(__file__).parents[2] / "commit.txt"
_PATIENCE_S = 5.0
_LENGTH = 12


@cache
def current_commit() -> str | None:
    """Return the commit (twelve digits), with `-dirty` after local changes; None where it is unknown.

    A package has it from its build (`deploy/build_hook.py`), a clone from git, and an installation by pip or
    uv from a repository from its metadata.
    """
    return _baked() or _of_clone(_ROOT) or _installed()


def describe_release() -> str:
    """Format the version with its commit, as `vigie version` prints it."""
    commit = current_commit()
    return f"{__version__} ({'commit unknown' if commit is None else commit})"


async def publish_build_info(role: str) -> None:
    """Export the version and commit of this process. In a thread: it may have to run git."""
    commit = await asyncio.to_thread(current_commit)
    BUILD_INFO.labels(role, __version__, commit or "unknown").set(1)


def _baked() -> str | None:
    return (_BAKED.read_text(encoding="ascii").strip()[:_LENGTH] or None) if _BAKED.is_file() else None


def _of_clone(root: Path) -> str | None:
    # For an installed package, the folder above may be another project's clone.
    git = shutil.which("git")
    if git is None or not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return None
    # The user runs this folder's code anyway: another owner of the folder is no obstacle.
    arguments = ["describe", "--always", "--dirty", f"--abbrev={_LENGTH}", "--exclude=*"]
    command = [git, "-c", f"safe.directory={root}", "-C", str(root), *arguments]
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
