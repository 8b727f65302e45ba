"""Reads and writes rules in files of YAML or JSON, and knows the line of each value.

A document has the rules of one site:

    site: Rue d'Alsace
    rules:
      - name: Fine particles
        severity: warning
        condition: {metric: pm2_5, operator: ">", threshold: 25, clear: 20, for: PT10M}

YAML is read by its core schema (1.2): `22:00`, `on` and `2026-11-24` are texts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from app.client.client_errors import InvalidFileError, UsageError

type Fields = tuple[str, ...]
"""The way to a value: keys, and numbers of entries."""

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = re.compile(r"(?:~|null|Null|NULL|)$")
_BOOLEAN: Final = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+$")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_NUMBER_STARTS: Final = list("-+.0123456789")
# Aliases make a small file large, and may even contain themselves.
_MOST_VALUES: Final = 500_000
_DEEPEST: Final = 60
_PER_SITE: Final = frozenset({"site_id", "organisation_id"})


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes with the tags of the core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as in PyYAML)


_CoreLoader.add_implicit_resolver(f"{_TAG}null", _NULL, ["~", "n", "N", ""])
_CoreLoader.add_implicit_resolver(f"{_TAG}bool", _BOOLEAN, list("tTfF"))
_CoreLoader.add_implicit_resolver(f"{_TAG}int", _INTEGER, _NUMBER_STARTS)
_CoreLoader.add_implicit_resolver(f"{_TAG}float", _FLOAT, _NUMBER_STARTS)


class _Dumper(yaml.SafeDumper):
    """Quotes what readers of YAML 1.1 or 1.2 would not read as a text."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's)
        """Write repeated values in full."""
        return True


_Dumper.add_implicit_resolver(f"{_TAG}float", _FLOAT, _NUMBER_STARTS)


@dataclass(frozen=True, slots=True)
class FileFault:
    """A fault of a file."""

    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class DeclaredRule:
    """A rule as a file declares it.

    Attributes:
        name: Its name, unique at the site.
        body: All its fields.
        file: The file.
        lines: The line of each value in `body`; that of the empty path is the rule's.
    """

    name: str
    body: dict[str, Any]
    file: Path
    lines: Mapping[Fields, int]

    def fault(self, field: str, text: str) -> FileFault:
        """Locate a fault that the API found in a field such as `body.condition.all.1`."""
        way = tuple(field.split("."))[1:]
        while way and way not in self.lines:
            way = way[:-1]
        # Some faults repeat the field that they are at.
        text = text.removeprefix(f"{field}: ")
        shown = field.removeprefix("body.")
        return FileFault(self.file, self.lines[way], f"rule {self.name!r}: {shown}: {text}")


@dataclass(frozen=True, slots=True)
class DeclaredSite:
    """The rules that a document declares for a site.

    Attributes:
        site: The name or id of the site.
        rules: Its rules.
        file: The file.
        line: The line of `site`.
    """

    site: str
    rules: list[DeclaredRule]
    file: Path
    line: int


def find_rule_files(given: Path) -> list[Path]:
    """Return a file, or the files below a folder in the order of their names (UsageError: there are none)."""
    if given.is_file():
        return [given]
    files = sorted(path for path in given.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    if not files:
        raise UsageError(f"{given} is not a file, and not a folder with files of YAML or JSON.")
    return files


def read_rule_files(files: Iterable[Path]) -> list[DeclaredSite]:
    """Read all documents of several files.

    Raises:
        InvalidFileError: They have faults; the text lists all of them with file and line.
    """
    faults: list[FileFault] = []
    found = [site for file in files for site in _Reader(file, faults).read()]
    raise_faults(faults)
    return found


def raise_faults(faults: Iterable[FileFault]) -> None:
    """Raise an error with all faults, if there are any (InvalidFileError)."""
    if listed := [str(each) for each in faults]:
        raise InvalidFileError("\n".join(listed))


def write_rule_documents(documents: Iterable[Mapping[str, Any]]) -> str:
    """Write documents as YAML."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, explicit_start=True
    )


def write_yaml(value: object) -> str:
    """Write one value as YAML, in block style."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


class _InvalidNodeError(Exception):
    def __init__(self, node: yaml.Node, text: str) -> None:
        super().__init__(text)
        self.line = node.start_mark.line + 1


class _Reader:
    """Reads the documents of one file, and adds what is wrong to a list."""

    def __init__(self, file: Path, faults: list[FileFault]) -> None:
        self._file = file
        self._faults = faults
        self._values_left = _MOST_VALUES

    def read(self) -> Iterator[DeclaredSite]:
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self._faults.append(FileFault(self._file, 1, f"The file cannot be read: {error}"))
            return
        if self._file.suffix == ".json":
            # PyYAML takes no tabs. In JSON they stand between values only.
            text = text.replace("\t", " ")
        try:
            for node in yaml.compose_all(text, Loader=_CoreLoader):
                # An empty document has no node.
                if node is not None:
                    yield from self._read_document(node)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self._faults.append(FileFault(self._file, line, f"This is not YAML: {error.problem}"))
        except yaml.YAMLError as error:
            self._faults.append(FileFault(self._file, 1, f"This is not YAML: {error}"))

    def _read_document(self, node: yaml.Node) -> Iterator[DeclaredSite]:
        try:
            lines: dict[Fields, int] = {}
            value = self._read_value(node, (), lines)
            yield self._read_site(node, value, lines)
        except _InvalidNodeError as error:
            self._faults.append(FileFault(self._file, error.line, str(error)))

    def _read_value(self, node: yaml.Node, way: Fields, lines: dict[Fields, int]) -> Any:  # noqa: ANN401
        self._values_left -= 1
        if len(way) > _DEEPEST or self._values_left < 0:
            raise _InvalidNodeError(node, "The file has too many values, or nests them too deep.")
        lines[way] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, way, lines)
        if isinstance(node, yaml.SequenceNode):
            return [self._read_value(each, (*way, str(at)), lines) for at, each in enumerate(node.value)]
        return _read_scalar(node)

    def _read_mapping(self, node: yaml.MappingNode, way: Fields, lines: dict[Fields, int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _InvalidNodeError(key, "A key must be a text.")
            if key.value in found:
                raise _InvalidNodeError(key, f"The key {key.value!r} occurs twice.")
            found[key.value] = self._read_value(value, (*way, key.value), lines)
            lines[*way, key.value] = key.start_mark.line + 1
        return found

    def _read_site(self, node: yaml.Node, value: object, lines: Mapping[Fields, int]) -> DeclaredSite:
        if not isinstance(value, dict) or not isinstance(value.get("site"), str) or "rules" not in value:
            raise _InvalidNodeError(node, "A document needs `site`, the name or id of a site, and `rules`.")
        for name in value:
            if name not in {"site", "rules"}:
                self._fault(lines[name,], f"{name!r} is unknown. A document has `site` and `rules`.")
        rules = value["rules"] if value["rules"] is not None else []
        if not isinstance(rules, list):
            raise _InvalidNodeError(node, "`rules` must be a list.")
        read = [self._read_rule(rule, ("rules", str(at)), lines) for at, rule in enumerate(rules)]
        return DeclaredSite(
            value["site"], [rule for rule in read if rule is not None], self._file, lines["site",]
        )

    def _read_rule(self, body: object, way: Fields, lines: Mapping[Fields, int]) -> DeclaredRule | None:
        line = lines[way]
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            self._fault(line, "A rule needs a `name`, which is a text.")
            return None
        for name in sorted(_PER_SITE & body.keys()):
            self._fault(lines[*way, name], f"Leave out {name!r}: `site` of the document says it.")
        # By the path in the rule itself, as the API names fields.
        own = {each[len(way) :]: at for each, at in lines.items() if each[: len(way)] == way}
        return DeclaredRule(body["name"], body, self._file, own)

    def _fault(self, line: int, text: str) -> None:
        self._faults.append(FileFault(self._file, line, text))


def _read_scalar(node: yaml.Node) -> str | float | bool | None:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
        case _:
            raise _InvalidNodeError(node, f"The tag {node.tag!r} is unknown.")
