"""Finds rows of an archive that the API would refuse, and that would harm all tenants.

The checksums of an archive are not signed, so its rows may have been changed by hand. The database checks
types and references. It accepts a box with the name of one of Vigie's own accounts at the broker, a time zone
that this machine does not know, and a rule that no process can compile.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from app.platform.http.contract.fields import check_timezone
from app.platform.kernel.weekly_hours import make_weekly_hours
from app.rules.definitions.condition_trees import DEPTH_LIMIT, NODES_LIMIT, iterate_parts
from app.rules.definitions.definition_changes import compute_effort, count_index_conditions
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_rows import read_rows

_SHOWN: Final = 20
# Of any shape, since the rows may be anything that is JSON.
_MALFORMED: Final = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


def find_unusable_rows(archive: ArchiveReader, reserved_box_ids: Collection[str]) -> list[str]:
    """Find rows that must not be stored; returns lines for people, at most 20.

    Args:
        archive: the archive.
        reserved_box_ids: the ids that no box may have.
    """

    def check_box(row: dict[str, Any]) -> None:
        if row["id"] in reserved_box_ids:
            raise ValueError("the broker has an account of Vigie with this name")

    checks: dict[str, Callable[[dict[str, Any]], None]] = {
        "boxes": check_box,
        "sites": _check_site,
        "rules": _check_rule,
        "silences": _check_silence,
    }
    found: list[str] = []
    for table, check in checks.items():
        for line in _find_in(archive, table, check):
            found.append(line)
            if len(found) == _SHOWN:
                return found
    return found


def _find_in(archive: ArchiveReader, table: str, check: Callable[[dict[str, Any]], None]) -> Iterator[str]:
    for number, row in enumerate(read_rows(archive, table), start=1):
        try:
            check(row)
        except _MALFORMED as error:
            yield f"tables/{table}.jsonl, line {number}: {str(error) or type(error).__name__}"


def _check_site(row: dict[str, Any]) -> None:
    check_timezone(row["timezone"])


def _check_rule(row: dict[str, Any]) -> None:
    for level in row["definition"]["levels"]:
        for number, part in enumerate(iterate_parts(level["condition"]), start=1):
            if part.depth > DEPTH_LIMIT or number > NODES_LIMIT:
                raise ValueError("the condition is too deep or too large")
    compute_effort(row["definition"])
    count_index_conditions(row["definition"])


def _check_silence(row: dict[str, Any]) -> None:
    if row["schedule"] is not None:
        check_timezone(row["timezone"])
        make_weekly_hours(row["schedule"], row["timezone"])
