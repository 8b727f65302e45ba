"""Stores the demo's state between starts in `<data-dir>/demo.json`, with mode 0600.

Other programs may read `organisation_id`, `site_ids`, `boxes`, `endpoint_id`, `key`, an API key of the demo's
organisation, and the sign-in `operator_email` with `operator_password`. The other fields are private.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self

from app.platform.kernel.atomic_files import replace_file_text
from simulators.registration import PasswordStore

STATE_FILE = "demo.json"


@dataclass(slots=True)
class DemoState:
    """The stored state of the demo.

    Attributes:
        organisation_id: The demo's organisation.
        key: An API key of the organisation.
        site_ids: Ids of sites by their key in `DEMO_SITES`.
        boxes: The ids of the boxes.
        endpoint_id: The webhook endpoint of the demo's receiver.
        secret: The endpoint's secret.
        receiver_port: The receiver's last port.
        passwords: The boxes' passwords.
        operator_email: The address with which a person signs in as an owner of the organisation.
        operator_password: The generated password; empty while there is none.
        operator_changed: Whether the person has chosen another password.
        replayed: By box of Aberdeen, the time up to which it was replayed (µs, as replayed).
    """

    organisation_id: str = ""
    key: str = ""
    site_ids: dict[str, str] = field(default_factory=dict)
    boxes: list[str] = field(default_factory=list)
    endpoint_id: str = ""
    secret: str = ""
    receiver_port: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    operator_email: str = ""
    operator_password: str = ""
    operator_changed: bool = False
    replayed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. A missing or broken one counts as empty, since all objects can be found again."""
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            known = {each.name: read[each.name] for each in fields(cls) if each.name in read}
            state = cls(**known)
        except (OSError, ValueError, TypeError):
            return cls()
        blank = cls()
        if any(
            type(getattr(state, each.name)) is not type(getattr(blank, each.name)) for each in fields(cls)
        ):
            return blank
        return state

    def save(self, path: Path) -> None:
        """Write the file."""
        replace_file_text(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", mode=0o600)

    def password_store(self, path: Path) -> PasswordStore:
        """Return the boxes' passwords as a store that saves the whole state."""
        return PasswordStore(self.passwords, lambda _known: self.save(path))
