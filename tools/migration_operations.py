"""Finds operations of a migration that the processes of the previous version may not survive.

It reads the SQL texts that `upgrade` uses, directly or through functions and constants of its module, and the
calls of Alembic's operations. What helpers of the package `migrations` do is not looked at: they only add.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

_PATTERNS: Final = {
    "drops": r"\bDROP\s+(TABLE|VIEW|MATERIALIZED|FUNCTION|PROCEDURE|INDEX|CONSTRAINT|COLUMN|TYPE|TRIGGER|"
    r"POLICY|SCHEMA|SEQUENCE|DEFAULT|ROLE)\b",
    "renames": r"\bRENAME\b",
    "changes a type": r"\bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b",
    "forbids null": r"\bSET\s+NOT\s+NULL\b",
    "empties": r"\bTRUNCATE\b",
    "takes away a privilege": r"\bREVOKE\b(?!\s+ALL\s+ON\s+FUNCTION)",
}
_ADDED_COLUMN: Final = re.compile(
    r"\bADD\s+COLUMN\s+(?P<rest>.*?)(?=,\s*(?:ADD|DROP|ALTER)\b|$)", re.IGNORECASE | re.DOTALL
)
_ALTERED: Final = re.compile(r"\bALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<table>\S+)", re.IGNORECASE)
_CREATED: Final = re.compile(r"\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<table>\w+)", re.IGNORECASE)
_UNIQUE: Final = re.compile(r"\bCREATE\s+UNIQUE\s+INDEX\b.*?\bON\s+(?P<table>\w+)", re.IGNORECASE | re.DOTALL)
_OPERATIONS: Final = (
    *("drop_column", "drop_table", "drop_index", "drop_constraint", "rename_table", "alter_column"),
    *("create_unique_constraint", "create_check_constraint", "create_foreign_key"),
)


def find_contractions(source: str) -> list[str]:
    """Return a description of each operation that takes something away or tightens it.

    Args:
        source: the text of a migration.
    """
    reached = list(_reach(ast.parse(source), "upgrade"))
    statements = [part.strip() for text in _texts(reached) for part in text.split(";") if part.strip()]
    created = {found["table"] for each in statements for found in _CREATED.finditer(each)}
    found = [fault for each in statements for fault in _judge(each, created)]
    for node in reached:
        for call in ast.walk(node):
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="op"), attr=name)) if name in _OPERATIONS:
                    found.append(f"op.{name}")
    return found


def read_required_program(source: str) -> str | None:
    """Return the revision that a migration's `upgrade` passes to `require_program`; None without a call."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for call in (each for node in _reach(tree, "upgrade") for each in ast.walk(node)):
        match call:
            case ast.Call(func=ast.Name(id="require_program"), args=[ast.Constant(value=str(revision))]):
                return revision
            case ast.Call(func=ast.Name(id="require_program"), args=[ast.Name(id=name)]):
                return str(constants[name])
    return None


def _judge(statement: str, created: set[str]) -> Iterator[str]:
    text = re.sub(r"\s+", " ", statement)
    for kind, pattern in _PATTERNS.items():
        if re.search(pattern, text, re.IGNORECASE):
            yield f"{kind}: {text[:120]}"
    table = _ALTERED.search(text)
    is_new = table is not None and table["table"] in created
    for column in _ADDED_COLUMN.finditer(text):
        rest = column["rest"].upper()
        if "NOT NULL" in rest and "DEFAULT" not in rest and "GENERATED" not in rest and not is_new:
            yield f"adds a column that needs a value: {text[:120]}"
    if re.search(r"\bADD\s+CONSTRAINT\b", text, re.IGNORECASE) and not is_new:
        yield f"tightens: {text[:120]}"
    unique = _UNIQUE.search(text)
    if unique is not None and unique["table"] not in created:
        yield f"tightens: {text[:120]}"


def _reach(tree: ast.Module, name: str) -> Iterator[ast.stmt]:
    """Yield the definitions of the module that a function uses, itself first."""
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=own):
                defined[own] = node
            case ast.Assign(targets=[ast.Name(id=own)]) | ast.AnnAssign(target=ast.Name(id=own)):
                defined[own] = node
    todo, seen = [name], set[str]()
    while todo:
        current = todo.pop()
        if current in seen or current not in defined:
            continue
        seen.add(current)
        yield defined[current]
        todo += [node.id for node in ast.walk(defined[current]) if isinstance(node, ast.Name)]


def _texts(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the string literals of definitions, f-strings with `_` for their values, without docstrings."""
    for node in nodes:
        documentation = ast.get_docstring(node, clean=False) if isinstance(node, ast.FunctionDef) else None
        inside = {
            id(part)
            for each in ast.walk(node)
            if isinstance(each, ast.JoinedStr)
            for part in ast.walk(each)
            if part is not each
        }
        for each in ast.walk(node):
            match each:
                case ast.JoinedStr(values=values):
                    yield "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "_" for part in values
                    )
                case ast.Constant(value=str(text)) if id(each) not in inside and text != documentation:
                    yield text
