"""The shell blocks of the guides, and how each of them is tested.

- Settings: a block of nothing but `VIGIE_…=…`. Each name must be a setting.
- Calls of the API: `tests/scenarios/test_guide_commands.py` runs them as they stand there. `# 412` at the end
  of a line expects that status.
- Everything else has a mark in the line before it, `<!-- run by: tests/FILE.py -->` or
  `<!-- not run: REASON -->`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.generate_docs import list_documents

ROOT: Final = Path(__file__).parents[1]
_BLOCK: Final = re.compile(
    r"(?:^[ \t]*<!-- (?P<mark>not run|run by): (?P<why>[^\n]+?) -->\n+)?"
    r"^(?P<indent>[ \t]*)```(?:sh|bash|shell|console)\n(?P<text>.*?)^[ \t]*```",
    re.DOTALL | re.MULTILINE,
)
_SETTING: Final = re.compile(r"^(VIGIE_[A-Z0-9_]+)=")
# Programs that change the machine, or need what only one guide has.
_OTHER: Final = re.compile(
    r"(?:^|[;&|(]\s*|\s)(?:sudo|apt|apt-get|systemctl|rm|make|uv tool|vigie|psql|pg_\w+|podman|docker|helm|"
    r"kubectl|mosquitto_\w+|git|systemd-\w+|pmtiles|openssl|export|sh|promtool|curl -N)\s",
    re.MULTILINE,
)
_STATUS: Final = re.compile(r"# (\d{3})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CommandBlock:
    """A shell block of a guide.

    Attributes:
        path: The guide, below the root.
        line: The line of the fence.
        text: The commands.
        mark: `not run`, `run by` or nothing.
        why: The reason, or the test.
    """

    path: str
    line: int
    text: str
    mark: str
    why: str

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.path}:{self.line}"

    @property
    def is_settings(self) -> bool:
        """Whether it only sets variables of Vigie."""
        return all(_SETTING.match(line) for line in self.text.splitlines() if line.strip())

    @property
    def settings(self) -> list[str]:
        """The names of the variables that it sets."""
        return [found[1] for line in self.text.splitlines() if (found := _SETTING.match(line))]

    @property
    def calls_the_api(self) -> bool:
        """Whether it only calls the API, and so may run in a test."""
        return "$API" in self.text and not _OTHER.search(self.text)

    @property
    def refusals(self) -> set[int]:
        """The statuses that it says."""
        return {int(status) for status in _STATUS.findall(self.text)}


def list_commands() -> list[CommandBlock]:
    """List the shell blocks of all guides."""
    found = []
    for path in list_documents():
        text = path.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start("indent")) + 1
            indent = block["indent"]
            commands = "".join(each.removeprefix(indent) for each in block["text"].splitlines(keepends=True))
            found.append(
                CommandBlock(
                    path.relative_to(ROOT).as_posix(), line, commands, block["mark"] or "", block["why"] or ""
                )
            )
    return found
