"""Adds the import-linter contract `pure`: modules marked "Pure." import no database and no HTTP.

A module is marked by a sentence of its docstring. That of a package holds for all of its modules.
"""

import ast
import re
from pathlib import Path
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

# At the beginning of a sentence.
_MARKER = re.compile(r"(?:^|[.:)]\s+)Pure\b")


def is_marked_pure(module: str, root: Path) -> bool:
    """Tell whether a module, or a package around it, has a docstring with a sentence "Pure …"."""
    path = root.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return False
    if _MARKER.search(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""):
        return True
    parent = module.rpartition(".")[0]
    return bool(parent) and is_marked_pure(parent, root)


class PureContract(Contract):
    """Forbids direct imports of `forbidden_modules` by modules that are marked as pure."""

    type_name = "pure"
    forbidden_modules = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001, ARG002 (import-linter's)
        """Find the pure modules that import what they must not."""
        forbidden = cast("set[str]", self.forbidden_modules)
        pure = [module for module in graph.modules if is_marked_pure(module, Path.cwd())]
        broken = sorted(
            (module, imported)
            for module in pure
            for imported in graph.find_modules_directly_imported_by(module)
            if imported.partition(".")[0] in forbidden
        )
        return ContractCheck(kept=not broken and bool(pure), metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import that a pure module must not have."""
        for module, imported in check.metadata["broken"]:
            output.print_error(f"{module} is marked as pure and imports {imported}")
