"""Reads the files of `deploy/` that an installation copies, from the package or from the clone."""

import os
from pathlib import Path
from string import Template
from typing import Final

_PACKAGED: Final = Path(__file__).with_name("files")
_CLONE: Final = Path(__file__).parents[2] / "deploy"


def find_deploy_file(name: str) -> Path:
    """Return the path of a file of `deploy/`, such as `roles.sql` or `server/caddy/vigie.caddyfile`."""
    return (_PACKAGED if _PACKAGED.is_dir() else _CLONE) / name


def list_unit_files() -> list[str]:
    """Return the names of the units and drop-ins, such as `vigie-api.service`."""
    folder = find_deploy_file("server/systemd")
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file())


def render_deploy_file(name: str, /, **values: object) -> str:
    """Return the text of a file with its `${…}` filled in.

    Raises:
        KeyError: A value is missing.
    """
    text = find_deploy_file(name).read_text(encoding="utf-8")
    return Template(text).substitute(values) if values else text
