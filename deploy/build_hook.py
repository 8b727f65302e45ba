"""Adds to a package what is not Python in it: the guides, which the API serves, and the commit.

`VIGIE_COMMIT` gives the commit where there is no git, as in the build of a container; else git does. A
package that is built from a source archive takes over what the archive has.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMMIT = "app/commit.txt"
# As the guides link to each other: `app.pages.guide_rendering` finds them there.
GUIDES = {name: f"app/pages/manual/{name}" for name in ("README.md", "CHANGELOG.md", "docs")}


class PackageHook(BuildHookInterface):  # type: ignore[misc] # only builds have Hatch
    """Adds files to wheels and source archives; an editable installation has them in its clone."""

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
        """Remove the file that was only made to be packed."""
        if self._made is not None:
            self._made.unlink(missing_ok=True)


def _ask_git(root: Path) -> str:
    """The commit of a clone; empty where there is none."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no shell)
    return done.stdout.strip()
