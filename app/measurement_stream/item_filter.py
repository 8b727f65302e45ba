"""Applies a reader's filter to an item that was read for all readers of an organisation. Pure."""

from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from app.measurement_stream.items import Item, StreamFilter


def narrow_item(item: Item, filter_: StreamFilter, sites: Collection[UUID] | None) -> Item | None:
    """Return the part of an item that a reader gets; None if it gets nothing of it.

    Args:
        item: with all its values.
        filter_: the reader's.
        sites: the only sites that the reader may see; None: all.
    """
    if sites is not None and item.site_id not in sites:
        return None
    if filter_.sites is not None and item.site_id not in filter_.sites:
        return None
    if filter_.boxes is not None and item.box not in filter_.boxes:
        return None
    if filter_.kinds is not None and item.kind not in filter_.kinds:
        return None
    return item if filter_.metrics is None else _select_metrics(item, filter_.metrics)


def _select_metrics(item: Item, metrics: tuple[str, ...]) -> Item | None:
    if item.kind == "event":
        return None
    if item.kind == "correction":
        return item if item.detail is not None and item.detail.get("metric") in metrics else None
    values = {name: item.values[name] for name in metrics if name in item.values}
    if not values:
        return None
    late = tuple(name for name in item.late if name in values)
    detail = item.detail
    if detail is not None and "metrics" in detail:
        aggregates = {name: detail["metrics"][name] for name in values}
        detail = {**detail, "metrics": aggregates}
    return replace(item, values=values, late=late, detail=detail)
