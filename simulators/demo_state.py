"""What the demo remembers from one start to the next: `<data-dir>/demo.json`, mode 0600.

Others read from it: `organisation_id`, `site_ids` (by place), `boxes`, `endpoint_id` and `key`, an API key of
the demo's organisation. The rest is the demo's own.
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
    """The demo's memory.

    Attributes:
        organisation_id: Its organisation.
        key: An API key of it.
        site_ids: By place: street, office, airport, aberdeen.
        boxes: The ids of its boxes.
        endpoint_id: The webhook endpoint that leads to its receiver.
        secret: The endpoint's secret.
        receiver_port: Where the receiver listened last.
        passwords: The boxes' passwords.
        replayed: By box of Aberdeen, the instant (µs) that its replay has come to, as it is replayed.
    """

    organisation_id: str = ""
    key: str = ""
    site_ids: dict[str, str] = field(default_factory=dict)
    boxes: list[str] = field(default_factory=list)
    endpoint_id: str = ""
    secret: str = ""
    receiver_port: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    replayed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. What is missing or broken counts as forgotten: all of it can be found again."""
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
        """The boxes' passwords, saved with all else."""
        return PasswordStore(self.passwords, lambda _known: self.save(path))
