"""Renders the README of an archive, for people who open it without Vigie. Pure."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.tenant_transfer.archive_manifest import ArchivedFile, ArchiveManifest
from app.tenant_transfer.transferred_tables import BY_NAME

_TEMPLATE: Final = Path(__file__).with_name("readme_template.md")


def build_readme(manifest: ArchiveManifest, files: Iterable[ArchivedFile]) -> str:
    """Render the README.

    Args:
        manifest: of the archive; its list of files is not used.
        files: the files of the archive so far.
    """
    rows: dict[str, tuple[int, str]] = {}
    for file in files:
        if file.rows is not None:
            name = file.path if file.table is None else file.path.split("/", 1)[0] + "/"
            name = file.path if name == "tables/" else name
            rows[name] = (rows.get(name, (0, ""))[0] + file.rows, _describe(file))
    table = "\n".join(f"| `{name}` | {count} | {text} |" for name, (count, text) in rows.items())
    left_out = "\n".join(
        f"- `{each.table}`: {each.reason}."
        if each.column is None
        else f"- `{each.table}.{each.column}`: {each.reason}."
        for each in manifest.left_out
    )
    return _TEMPLATE.read_text(encoding="utf-8").format(
        name=manifest.organisation.name,
        id=manifest.organisation.id,
        at=f"{manifest.exported_at:%Y-%m-%dT%H:%M:%SZ}",
        software=manifest.software,
        archive=manifest.archive_id,
        rows=table,
        left_out=left_out,
    )


def _describe(file: ArchivedFile) -> str:
    if file.table is None:
        return "An entry of the audit log."
    table = BY_NAME[file.table]
    only = "" if table.export_only is None else f" Not imported: {table.export_only}."
    return table.description + only
