"""Implements `vigie rules apply` and `vigie rules export`."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.client.api_connection import ApiConnection
from app.client.client_errors import UsageError
from app.client.output_formats import clean_text
from app.client.rule_files import find_rule_files, read_rule_files, write_rule_documents
from app.client.rule_plan import (
    RULES_PATH,
    SITES_PATH,
    RulePlanner,
    apply_plan,
    describe_plan,
    shorten,
)


def run_apply(
    api: ApiConnection, source: Path, *, dry_run: bool, prune: bool, write: Callable[[str], object]
) -> None:
    """Make the rules those of the files.

    Raises:
        InvalidFileError: The files are invalid; nothing was changed.
        ChangedMeanwhileError: Another caller changed some of the rules.
        ApiError: The API refused.
    """
    plans = RulePlanner(api, prune=prune).plan(read_rule_files(find_rule_files(source)))
    for line in describe_plan(plans):
        write(line)
    counts = Counter(action.kind for plan in plans for action in plan.actions)
    unchanged = sum(plan.unchanged for plan in plans)
    write(
        f"Plan: {counts['create']} to create, {counts['change']} to change, {counts['delete']} to delete, "
        f"{unchanged} unchanged."
    )
    if dry_run or not counts:
        return
    done = apply_plan(api, plans, write)
    write(f"Done: {done['create']} created, {done['change']} changed, {done['delete']} deleted.")


def run_rules_export(
    api: ApiConnection,
    site_ids: Sequence[str],
    target: Path | None,
    *,
    write: Callable[[str], object],
    report: Callable[[str], object],
) -> None:
    """Write existing rules.

    Args:
        api: The connection.
        site_ids: The sites; empty: all.
        target: A new file, or a folder for a file of each site; None: standard output.
        write: Writes a text to standard output.
        report: Prints a line to standard error.

    Raises:
        UsageError: The file exists already.
        ApiError: The API refused.
    """
    documents = list(_make_documents(api, site_ids, report))
    if target is None:
        write(write_rule_documents(document for _, document in documents).rstrip())
    elif target.is_dir():
        for name, document in documents:
            _write_new(target / f"{name}.yaml", [document])
    else:
        _write_new(target, [document for _, document in documents])
    report(f"{sum(len(document['rules']) for _, document in documents)} rules of {len(documents)} sites")


def _write_new(path: Path, documents: Sequence[Mapping[str, Any]]) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(write_rule_documents(documents))
    except FileExistsError:
        raise UsageError(f"{path} exists already. Remove it, or choose another name.") from None


def _make_documents(
    api: ApiConnection, site_ids: Sequence[str], report: Callable[[str], object]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a file name and a document for each site with rules."""
    sites = [api.get(f"{SITES_PATH}/{each}") for each in site_ids] or list(api.rows(SITES_PATH))
    names = Counter(site["name"] for site in sites)
    slugs: Counter[str] = Counter()
    by_site: dict[str, list[Mapping[str, Any]]] = {}
    for filters in [[("site", each)] for each in site_ids] or [[]]:
        for rule in api.rows(RULES_PATH, filters):
            by_site.setdefault(rule["site_id"], []).append(rule)
    for site in sites:
        rules = by_site.get(site["id"], [])
        if not rules and not site_ids:
            continue
        repeated = [name for name, count in Counter(rule["name"] for rule in rules).items() if count > 1]
        for name in repeated:
            where = clean_text(site["name"])
            report(f"vigie: {where!r} has several rules {clean_text(name)!r}. Rename all but one.")
        slug = _make_slug(site["name"]) or site["id"]
        slugs[slug] += 1
        # A name identifies a site only where no other one has it.
        named = site["name"] if names[site["name"]] == 1 and not site_ids else site["id"]
        yield (
            slug if slugs[slug] == 1 else f"{slug}-{site['id']}",
            {"site": named, "rules": [shorten(rule) for rule in rules]},
        )


def _make_slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80]
