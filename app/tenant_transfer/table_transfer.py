"""Defines how a table is transferred, the steps of an import, and reasons for what is left out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

STATEMENT_TIMEOUT_S: Final = 7 * 86_400.0
"""Timeout of a statement that may read a whole table (seconds)."""

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
LOCAL_NUMBER: Final = "a number that only the former installation uses; the order of the lines stands for it"
LOCAL_REVISION: Final = "the version of the former installation's registry"
WORKING_STATE: Final = "working state of the delivery process"
SECRET_HASH: Final = "the hash of a secret"  # noqa: S105 (a reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferredTable:
    """A table that an archive contains as a file.

    Attributes:
        name: the table, and the file.
        description: what a row is, for readers of the archive.
        order: the columns that determine the order of the rows.
        parent: the column that refers to the table that determines the tenant, and that table; None: the
            table has the column `organisation_id`.
        left_out: columns that are not exported, with the reason.
        import_step: the transaction of the import that writes the table; None: it is exported only.
        export_only: why it is not imported.
        filled: SQL of columns that are not in the file, at the import.
        converted: SQL of columns whose values an import changes; `x` is the row of the file.
        is_emptied: whether the import first deletes the organisation's rows, which triggers and `maintain`
            made of the rows of earlier tables.
        self_reference: a column that refers to other rows of the table, by `id`.
        is_columnar: whether the files are Parquet, in parts; else one file of JSON Lines.
    """

    name: str
    description: str
    order: tuple[str, ...] = ("id",)
    parent: tuple[str, str] | None = None
    left_out: Mapping[str, str] = field(default_factory=lambda: _NONE)
    import_step: str | None = None
    export_only: str | None = None
    filled: Mapping[str, str] = field(default_factory=lambda: _NONE)
    converted: Mapping[str, str] = field(default_factory=lambda: _NONE)
    is_emptied: bool = False
    self_reference: str | None = None
    is_columnar: bool = False


REGISTRY: Final = "registry"
EVENTS: Final = "events"
ALERTS: Final = "alerts"
OUTBOX: Final = "outbox"
DELIVERIES: Final = "deliveries"
SERIES: Final = "series"
STATES: Final = "states"

OF_BOX: Final = ("box_key", "boxes")
OF_SITE: Final = ("site_id", "sites")
RANDOM_HASH: Final = "sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
UNUSABLE_SECRET: Final = "'whsec_' || encode(" + RANDOM_HASH + ", 'base64')"
"""SQL of a random secret of a webhook. No receiver has it; the last step of an import replaces it."""
