"""Adds the guides, which the API serves, and the commit to built packages.

The commit comes from `VIGIE_COMMIT` if it is set (a build without git, such as a container's), otherwise from
git. A package that is built from a source archive takes the commit of the archive.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMMIT = "app/commit.txt"
# Relative paths as in the repository, so that links between guides work (`app.pages.guide_rendering`).
GUIDES = {name: f"app/pages/manual/{name}" for name in ("README.md", "CHANGELOG.md", "docs")}


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
            included.update({str(root / name): place for name, place in GUIDES.items()})
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


def _ask_git(root: Path) -> str:
    """Return the commit of a clone; empty without one."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no shell)
    return done.stdout.strip()
