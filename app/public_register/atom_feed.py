"""Writes the history of the register as an Atom feed (RFC 4287). Pure."""

import re
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from xml.etree import ElementTree as ET

from app.platform.kernel.instants import format_us, from_datetime
from app.public_register.change_history import ChangeHistoryEntry
from app.public_register.change_texts import describe_change
from app.public_register.register_value_formatter import RegisterFormatter

MEDIA_TYPE: Final = "application/atom+xml"
NAMESPACE: Final = "http://www.w3.org/2005/Atom"
_XML: Final = "http://www.w3.org/XML/1998/namespace"
# Characters that XML 1.0 (2.2) forbids, even escaped: one of them would make the whole feed unreadable.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_atom_feed(
    entries: Sequence[ChangeHistoryEntry],
    formatter: RegisterFormatter,
    *,
    base: str,
    path: str,
    title: str,
    now: datetime,
    rights: str = "",
) -> bytes:
    """Build a feed of changes.

    Args:
        entries: The changes, the newest first.
        formatter: The language.
        base: The public address of the installation, without a slash at the end.
        path: The path of the page that shows the same changes.
        title: The title of the feed.
        now: The time of the feed if it has no entries; otherwise it has the time of the newest entry.
        rights: The licence of the open data; empty: none.
    """
    root = ET.Element("feed", {"xmlns": NAMESPACE, f"{{{_XML}}}lang": formatter.language})
    page = f"{base}{path}?lang={formatter.language}"
    _text(root, "title", title)
    _text(root, "id", _urn(f"{base}{path}"))
    _text(root, "updated", format_us(from_datetime(entries[0].change.at if entries else now)))
    ET.SubElement(root, "link", {"rel": "alternate", "type": "text/html", "href": page})
    itself = f"{base}{path.removesuffix('/changes')}/changes.atom?lang={formatter.language}"
    ET.SubElement(root, "link", {"rel": "self", "type": MEDIA_TYPE, "href": itself})
    _text(ET.SubElement(root, "author"), "name", "Vigie")
    if rights:
        _text(root, "rights", rights)
    for each in entries:
        change = each.change
        entry = ET.SubElement(root, "entry")
        _text(entry, "title", f"{change.site_name}: {describe_change(change, formatter)}")
        _text(entry, "id", _urn(f"{base}/public/changes/{each.first.id}"))
        _text(entry, "updated", format_us(from_datetime(change.at)))
        href = f"{base}/public/sites/{change.site_id}?lang={formatter.language}"
        ET.SubElement(entry, "link", {"rel": "alternate", "type": "text/html", "href": href})
        _text(entry, "content", describe_change(change, formatter)).set("type", "text")
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = _FORBIDDEN.sub("\ufffd", text)
    return child


def _urn(address: str) -> str:
    """Return an id that depends on the address alone, so that feed readers recognise an entry."""
    return uuid.uuid5(uuid.NAMESPACE_URL, address).urn
