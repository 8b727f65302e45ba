"""Prints what users, boxes and clients rely on, as sorted JSON without prose: to compare two versions.

    DATABASE=$(jq -r .database .vigie/run.json)
    uv run --frozen python -m tools.public_surface --database "$DATABASE" > before.json

It covers the OpenAPI document, the AsyncAPI document, settings with their defaults, Prometheus metrics with
their labels, the commands of the CLI, and the columns, tables, views, indexes and functions of a migrated
database. Names of the program's modules and classes play no part: a change that only moves or renames code
prints the same.
"""

import argparse
import asyncio
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import asyncpg
import typer
import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import app
from app.processes.api_application import create_app
from app.processes.audit_cli import app as audit_app
from app.processes.tenant_cli import app as tenant_app
from app.settings import VigieSettings
from app.standalone.secrets_cli import app as secrets_app
from simulators.cli import app as simulators_app

_PROSE: Final = frozenset(
    {"description", "summary", "title", "example", "examples", "x-parser-unique-object-id"}
)
# Maps whose keys are names of the surface itself, such as a field called `description`.
_NAMES: Final = frozenset(
    {"properties", "parameters", "schemas", "responses", "headers", "messages", "channels"}
)
_COLUMNS: Final = """
    SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
_OBJECTS: Final = """
    SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'i' THEN 'index'
        ELSE relkind::text END, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'function', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    ORDER BY 1, 2
"""


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(app.__path__, "app."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def strip_prose(document: Any, *, names: bool = False) -> Any:  # noqa: ANN401 (JSON)
    """Return a document without texts for people.

    Args:
        document: JSON.
        names: Whether the keys of this object are names rather than keywords.
    """
    if isinstance(document, dict):
        return {
            str(key): strip_prose(value, names=not names and key in _NAMES)
            for key, value in document.items()
            if names or key not in _PROSE
        }
    if isinstance(document, list):
        return [strip_prose(value) for value in document]
    return document


def list_settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """List the variables of settings with their defaults."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_settings(field.annotation, f"{variable}__")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        yield variable, "(required)" if default is PydanticUndefined else str(default)


def list_metrics(modules: list[ModuleType]) -> dict[str, list[str]]:
    """List the metrics that modules declare: name and type → labels."""
    found = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                found[f"{value._name} {value._type}"] = list(value._labelnames)  # noqa: SLF001 (it has no other way)
    return found


def _commands(program: typer.Typer, name: str) -> Iterator[tuple[str, list[str]]]:
    return list_commands(typer.main.get_command(program), name)


def list_commands(command: Any, name: str) -> Iterator[tuple[str, list[str]]]:  # noqa: ANN401 (Typer's own Click)
    """List a command and those below it, with their options."""
    yield name, sorted(option for parameter in command.params for option in parameter.opts)
    for below, each in getattr(command, "commands", {}).items():
        yield from list_commands(each, f"{name} {below}")


async def read_database(url: str) -> dict[str, Any]:
    """Read the names of a migrated database."""
    connection = await asyncpg.connect(url)
    try:
        columns = [" ".join(row) for row in await connection.fetch(_COLUMNS)]
        objects = [" ".join(row) for row in await connection.fetch(_OBJECTS)]
    finally:
        await connection.close()
    return {"columns": columns, "objects": objects}


def collect(database: str | None) -> dict[str, Any]:
    """Collect all of it."""
    modules = list(_modules())
    cli = importlib.import_module("app.processes.cli")
    programs = {
        "vigie": cli.app,
        "vigie simulate": simulators_app,
        "vigie audit": audit_app,
        "vigie secrets": secrets_app,
        "vigie tenant": tenant_app,
    }
    commands: dict[str, list[str]] = {}
    for name, program in programs.items():
        commands |= _commands(program, name)
    document = yaml.safe_load(Path("docs/asyncapi.yaml").read_text(encoding="utf-8"))
    return {
        "openapi": strip_prose(create_app(VigieSettings(_env_file=None)).openapi()),
        "asyncapi": strip_prose(document),
        "settings": dict(list_settings(VigieSettings, "VIGIE_")),
        "metrics": list_metrics(modules),
        "commands": commands,
        "database": {} if database is None else asyncio.run(read_database(database)),
    }


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", help="address of a migrated database, such as that of run.json")
    json.dump(collect(parser.parse_args().database), sys.stdout, indent=1, sort_keys=True, default=str)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
