"""Adds the built guides, the files of a server, and the commit to packages.

The commit comes from `VIGIE_COMMIT` if it is set (a build without git, such as a container's), otherwise from
git. A package that is built from a source archive takes the commit of the archive.

`make docs` builds the guides beforehand: the environment in which a package is built has none of their tools.
`VIGIE_WITHOUT_GUIDES=1` leaves them out: the API then answers 503 under `/docs/guides`.
"""

import importlib.util
import os
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMMIT = "app/commit.txt"
# What `vigie install --server` copies (`app.server_installation.deploy_files`).
SERVER_FILES = {f"deploy/{name}": f"app/server_installation/files/{name}" for name in ("roles.sql", "server")}
GUIDES = "app/pages/guides"


class PackageHook(BuildHookInterface):  # type: ignore[misc] # only builds have Hatch
    """Adds files to wheels and source archives; an editable installation reads them from its clone."""

    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files."""
        if version == "editable":
            return
        root = Path(self.root)
        included = build_data["force_include"]
        if self.target_name == "wheel":
            included.update({str(root / name): place for name, place in SERVER_FILES.items()})
        if not os.environ.get("VIGIE_WITHOUT_GUIDES"):
            built = _require_guides(root)
            # The wheel is made from the archive, where the guides stay in their place.
            place = GUIDES if self.target_name == "wheel" else built.as_posix()
            included[str(root / built)] = place
        commit = os.environ.get("VIGIE_COMMIT") or _ask_git(root)
        if commit and not (root / COMMIT).is_file():
            with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
                file.write(f"{commit}\n")
            self._made = Path(file.name)
            included[file.name] = COMMIT

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 (Hatch's)
        """Remove the temporary file of the commit."""
        if self._made is not None:
            self._made.unlink(missing_ok=True)


def _require_guides(root: Path) -> Path:
    """Return the folder of the built guides below the root.

    Raises:
        RuntimeError: The guides are missing, or older than their sources.
    """
    stamp = _load_stamp(root)
    built: Path = stamp.BUILT
    if not stamp.is_current(root):
        state = "older than their sources" if (root / built / stamp.STAMP).is_file() else "missing"
        raise RuntimeError(
            f"The guides in {built} are {state}. Run `make docs` first (or: uv run python -m tools.guides). "
            "To build a package without guides, set VIGIE_WITHOUT_GUIDES=1."
        )
    return built


def _load_stamp(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("vigie_stamp", root / "tools" / "guides" / "stamp.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{root} has no tools/guides/stamp.py. Build from a complete clone or archive.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ask_git(root: Path) -> str:
    """Return the commit of a clone; empty without one."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no shell)
    return done.stdout.strip()
