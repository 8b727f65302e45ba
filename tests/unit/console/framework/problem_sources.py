"""Finds the texts of problems in the sources: what errors, faults and validators are given, as templates.

An f-string becomes a template whose placeholders have no names: `Wait {} s.`. Names, functions and
conditions that stand for texts are followed.
"""

import ast
import inspect
import json
import json.decoder
import json.scanner
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final

import pytest
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core._pydantic_core import list_all_errors

ROOT: Final = Path(__file__).parents[4]
_BASES: Final = frozenset({"VigieError", "ValueError"})
_MAKERS: Final = re.compile(r"(?i)error|refus|missing|too_many|fault|problem|reject|__init__")
_DEEPEST: Final = 4
_FEWEST_LITERALS: Final = 10
_WRONG_DAYS: Final = (
    *("", "x026-01-01", "2026x01-01", "2026-1x-01", "2026-13-01", "2026-02-30", "2026-01-0x"),
    *("2026-01-01T25:00", "2026-01-01T10:61", "2026-01-01T1x:00", "2026-01-01T10:0x", "2026-01-01T10:00:61"),
    *("2026-01-01T10:00:0x", "2026-01-01x"),
)
type Scope = Sequence[tuple[str, ast.expr]]


def normalise_template(template: str) -> str:
    """Remove names and formats of placeholders."""
    return "".join(
        escape_literal(literal) + ("" if name is None else "{}")
        for literal, name, _, _ in Formatter().parse(template)
    )


def escape_literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@cache
def _trees() -> Mapping[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("app/**/*.py"))}


@cache
def _errors() -> frozenset[str]:
    """Return the names of classes of errors that become answers."""
    known = set(_BASES)
    classes = [
        each for tree in _trees().values() for each in ast.walk(tree) if isinstance(each, ast.ClassDef)
    ]
    while more := {
        each.name
        for each in classes
        if each.name not in known and any(_name(base) in known for base in each.bases)
    }:
        known |= more
    return frozenset(known)


@cache
def _functions() -> Mapping[str, Sequence[ast.AST]]:
    found = defaultdict(list)
    for tree in _trees().values():
        for each in ast.walk(tree):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                found[each.name].append(each)
    return found


@cache
def _constants() -> Mapping[str, Sequence[ast.expr]]:
    found = defaultdict(list)
    for tree in _trees().values():
        for name, value in _assigned(tree.body):
            found[name].append(value)
    return found


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _assigned(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    for each in nodes:
        if isinstance(each, ast.Assign):
            for target in each.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from ((name.id, each.value) for name in names if isinstance(name, ast.Name))
        elif (
            isinstance(each, ast.AnnAssign | ast.NamedExpr)
            and isinstance(each.target, ast.Name)
            and each.value
        ):
            yield each.target.id, each.value


def _joined(node: ast.JoinedStr) -> str:
    return "".join(
        escape_literal(str(part.value)) if isinstance(part, ast.Constant) else "{}" for part in node.values
    )


def _texts(node: ast.expr | None, scope: Scope, depth: int = _DEEPEST) -> Iterator[str]:
    """Yield the templates that an expression can be."""
    if depth < 0:
        return
    match node:
        case ast.Constant(value=str(text)):
            yield escape_literal(text)
        case ast.JoinedStr():
            yield _joined(node)
        case ast.BinOp(op=ast.Add()):
            ends = list(_texts(node.right, scope, depth))
            yield from (begin + end for begin in _texts(node.left, scope, depth) for end in ends)
        case ast.Name(id=name):
            own = [value for each, value in scope if each == name]
            for value in own or _constants().get(name, ()):
                yield from _texts(value, scope, depth - 1)
        case ast.Call():
            for function in _functions().get(_name(node.func), ())[:3]:
                yield from _returned(function, depth - 1)
        case _:
            for each in _alternatives(node):
                yield from _texts(each, scope, depth)


def _alternatives(node: ast.expr | None) -> Sequence[ast.expr]:
    match node:
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.BoolOp() | ast.Dict():
            return node.values
        case ast.Tuple() | ast.List():
            return node.elts
        case ast.Subscript():
            return [node.value]
    return []


def _returned(function: ast.AST, depth: int) -> Iterator[str]:
    nodes = list(ast.walk(function))
    scope = list(_assigned(nodes))
    for each in nodes:
        if isinstance(each, ast.Return):
            yield from _texts(each.value, scope, depth)


def _given(node: ast.AST, scope: Scope) -> Iterator[str]:
    """Yield the texts that the errors within a node are given."""
    for each in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [*scope, *_assigned(list(ast.walk(each)))]
        if isinstance(each, ast.Call):
            values = [*each.args, *(keyword.value for keyword in each.keywords)]
            found = [text for value in values for text in _texts(value, inner)]
            if _name(each.func) == "NotFoundError":
                yield from (
                    f"There is no {what} {{}}." for what in _texts(each.args[0], inner) if what != "{}"
                )
            elif _name(each.func) in _errors() or _MAKERS.search(_name(each.func)):
                yield from (text for text in found if " " in text.strip())
        yield from _given(each, inner)


@cache
def find_problem_texts() -> Mapping[str, frozenset[str]]:
    """Return the texts of problems, and the rooms of `app` that have them."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in _trees().items():
        for text in _given(tree, list(_assigned(tree.body))):
            found[text].add(path.relative_to(ROOT / "app").parts[0])
    return {text: frozenset(rooms) for text, rooms in found.items()}


@cache
def find_all_texts() -> frozenset[str]:
    """Return all texts of the program, and those of problems that libraries make."""
    found = set(find_problem_texts())
    libraries = [ast.parse(inspect.getsource(module)) for module in (json.decoder, json.scanner)]
    for tree in (*_trees().values(), *libraries):
        for each in ast.walk(tree):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                found.add(re.sub(r"%[sd]", "{}", escape_literal(each.value)))
                with suppress(ValueError):
                    # A text that is filled by `str.format`.
                    found.add(normalise_template(each.value))
            elif isinstance(each, ast.JoinedStr):
                found.add(_joined(each))
    return frozenset(found | set(_of_pydantic()) | set(_of_json()))


def _of_pydantic() -> Iterator[str]:
    for kind in list_all_errors():
        for which in ("message_template_python", "message_template_json"):
            template = kind.get(which)
            if isinstance(template, str):
                yield normalise_template(template)
    for day in _WRONG_DAYS:
        for of in (date, datetime):
            yield from (
                str(each["ctx"]["error"]) for each in _faults(of, day) if "error" in each.get("ctx", {})
            )
    for collection in (list[int], dict[str, int], set[int]):
        wrong = _faults(Annotated[collection, Field(min_length=1)], collection())
        yield from (str(each["ctx"]["field_type"]) for each in wrong)


def _faults(of: Any, value: object) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 (a type)
    try:
        TypeAdapter(of).validate_python(value)
    except ValidationError as error:
        return error.errors()
    return ()


def _of_json() -> Iterator[str]:
    """Yield texts that only the parser in C has."""
    for wrong in ('"\\x"', '"\n"'):
        with pytest.raises(json.JSONDecodeError) as raised:
            json.loads(wrong)
        yield raised.value.msg


def is_in_sources(template: str) -> bool:
    """Return whether a template of the catalogue is a text of the sources.

    A template of the sources whose placeholders stand for words of the sources counts too: `There is no box
    {}.` is `There is no {} {}.`.
    """
    own, known = normalise_template(template), find_all_texts()
    if own in known:
        return True
    for text in find_problem_texts():
        if "{}" not in text:
            continue
        pattern = "(.+?)".join(map(re.escape, text.split("{}")))
        match = re.fullmatch(pattern, own)
        if match is None:
            continue
        words = [word for word in match.groups() if "{}" not in word]
        literals = len("".join([text.replace("{}", ""), *words]))
        if literals >= _FEWEST_LITERALS and all(word in known for word in words):
            return True
    return False
