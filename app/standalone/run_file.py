"""`run.json`: how others reach the running stack. Present exactly while it is ready."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.platform.kernel.atomic_files import replace_file_text


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Addresses and credentials that do not change while the stack runs."""

    api: str | None
    admin_key: str
    mqtt_host: str
    mqtt_port: int
    mqtt_username: str
    mqtt_password: str
    database: str


def write_run_file(path: Path, reach: StackAddresses, pids: Mapping[str, int]) -> None:
    """Write the file as a whole (0600): a reader finds it complete or not at all."""
    content = {
        "ready": True,
        "api": reach.api,
        "admin_key": reach.admin_key,
        "mqtt": {
            "host": reach.mqtt_host,
            "port": reach.mqtt_port,
            "username": reach.mqtt_username,
            "password": reach.mqtt_password,
        },
        "database": reach.database,
        "pids": dict(pids),
    }
    replace_file_text(path, json.dumps(content, indent=1) + "\n", mode=0o600)


def remove_run_file(path: Path) -> None:
    """Remove the file; nothing happens when it is not there."""
    path.unlink(missing_ok=True)


def read_demo_key(path: Path) -> str | None:
    """The API key of the demo city; None until the demo has made one."""
    try:
        key = json.loads(path.read_text(encoding="utf-8")).get("key")
    except (OSError, ValueError, AttributeError):
        return None  # not there yet, or being written
    return key if isinstance(key, str) else None
