"""Imports every module that declares a table, so that Alembic compares all of them with the database."""

from importlib import import_module
from pkgutil import walk_packages

from sqlalchemy import MetaData

import app
from app.platform.db.database import Base

# Modules with a table next to the only code that uses it.
_ELSEWHERE = ("app.platform.http.contract.idempotency_keys", "app.platform.identity.caller_authentication")


def load_metadata() -> MetaData:
    """Return the metadata of all tables, which modules named `models` and a few others declare."""
    models = (found.name for found in walk_packages(app.__path__, "app.") if found.name.endswith(".models"))
    for module in (*models, *_ELSEWHERE):
        import_module(module)
    return Base.metadata
