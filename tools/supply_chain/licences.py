"""Finds the licences of components, and checks them against the policy in `security/licences.toml`."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, Final, Self

from license_expression import ExpressionError, get_spdx_licensing

POLICY_FILE: Final = Path(__file__).parents[2] / "security/licences.toml"


class LicenceError(Exception):
    """A licence is unknown or not allowed; the text names the component and what to do."""


@dataclass(frozen=True, slots=True)
class LicenceGroup:
    """Licences that are allowed for the same reason; `kinds`: only for these kinds of components."""

    name: str
    reason: str
    licences: frozenset[str]
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class LicencePolicy:
    """The policy: allowed licences with reasons, forbidden ones, and licences that no metadata states."""

    groups: tuple[LicenceGroup, ...]
    forbidden: frozenset[str]
    spellings: Mapping[str, str]
    stated: Mapping[str, Mapping[str, str]]
    parts: Mapping[tuple[str, str], Mapping[str, str]]
    absent: frozenset[tuple[str, str]]

    @classmethod
    def read(cls, path: Path = POLICY_FILE) -> Self:
        """Read the policy."""
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        groups = (
            LicenceGroup(
                name, group["reason"], frozenset(group["licences"]), frozenset(group.get("kinds", ()))
            )
            for name, group in data["allowed"].items()
        )
        return cls(
            groups=tuple(groups),
            forbidden=frozenset(data["forbidden"]["licences"]),
            spellings=data["spellings"],
            stated={each["name"]: each for each in data["stated"]},
            parts={(each["of"], each["name"]): each for each in data["part"]},
            absent=frozenset((each["of"], each["name"]) for each in data["absent"]),
        )

    def find_licence(self, name: str, found: Distribution) -> str:
        """Return the licence of an installed Python package: the stated one, or that of its metadata.

        Raises:
            LicenceError: The metadata name none in the form of SPDX.
        """
        if name in self.stated:
            return self.stated[name]["licence"]
        # `License` is older than SPDX expressions in metadata, but often is one.
        for field in ("License-Expression", "License"):
            text = self.spellings.get(named := found.metadata.get(field, ""), named)
            if is_expression(text):
                return text
        raise LicenceError(
            f"{name} {found.version} states no licence in the form of SPDX. Read its licence file, and add "
            "it to `stated` of security/licences.toml with a text of that file"
        )

    def find_part_licence(self, of: str, part: Mapping[str, Any]) -> str:
        """Return the licence of a part of a wheel: the stated one, or that of the wheel's list.

        Raises:
            LicenceError: The list names none.
        """
        if (of, part["name"]) in self.parts:
            return self.parts[of, part["name"]]["licence"]
        named = [_read_listed_licence(each) for each in part.get("licenses", ())]
        if named and all(is_expression(each) for each in named):
            return " AND ".join(f"({each})" if " " in each and len(named) > 1 else each for each in named)
        raise LicenceError(
            f"{part['name']} in the wheel of {of} has no licence there. Add it to `part` of "
            "security/licences.toml with its evidence"
        )

    def is_absent(self, of: str, part: str) -> bool:
        """Return whether a wheel does not contain a part that its list names as optional."""
        return (of, part) in self.absent

    def check(self, name: str, kind: str, licence: str) -> str:
        """Return the group that allows a licence.

        Raises:
            LicenceError: The policy forbids the licence, or does not know it.
        """
        allowed = self._judge(_parse(licence), kind)
        if allowed is not None:
            return allowed
        refused = sorted(self._list_refused(_parse(licence), kind))
        verb = "forbids" if self.forbidden.intersection(refused) else "does not list"
        raise LicenceError(
            f"{name} has the licence {licence}: security/licences.toml {verb} {', '.join(refused)}. Replace "
            "the component, or allow the licence there with a reason"
        )

    def _judge(self, licence: Any, kind: str) -> str | None:  # noqa: ANN401 (the library has no types)
        operator = getattr(licence, "operator", "").strip()
        if operator == "OR":
            return next((found for each in licence.args if (found := self._judge(each, kind))), None)
        if operator == "AND":
            groups = [self._judge(each, kind) for each in licence.args]
            # The strictest group, which is the last one of the file.
            order = [group.name for group in self.groups]
            known = [each for each in groups if each is not None]
            return max(known, key=order.index) if len(known) == len(groups) else None
        name = licence.render()
        if name in self.forbidden:
            return None
        valid = (each for each in self.groups if not each.kinds or kind in each.kinds)
        return next((each.name for each in valid if name in each.licences), None)

    def _list_refused(self, licence: Any, kind: str) -> Iterator[str]:  # noqa: ANN401 (the same)
        if getattr(licence, "operator", "").strip() in {"AND", "OR"}:
            for each in licence.args:
                yield from self._list_refused(each, kind)
        elif self._judge(licence, kind) is None:
            yield licence.render()


def is_expression(text: str) -> bool:
    """Return whether a text is a licence expression with identifiers of SPDX, each in its own spelling."""
    if not text:
        return False
    try:
        _parse(text)
    except LicenceError:
        return False
    return True


@cache
def _parse(text: str) -> Any:  # noqa: ANN401 (the library has no types)
    licensing = _licensing()
    try:
        parsed = licensing.parse(text)
    except ExpressionError:
        raise LicenceError(f"{text} is not a licence expression of SPDX") from None
    unknown = [key for key in licensing.unknown_license_keys(parsed) if not key.startswith("LicenseRef-")]
    if unknown or parsed.render() != " ".join(text.split()):
        raise LicenceError(f"{text} is not a licence expression of SPDX in its spelling")
    return parsed


@cache
def _licensing() -> Any:  # noqa: ANN401 (the library has no types)
    return get_spdx_licensing()


def _read_listed_licence(listed: Mapping[str, Any]) -> str:
    licence = listed.get("license", {})
    return str(listed.get("expression") or licence.get("id") or licence.get("name", ""))
