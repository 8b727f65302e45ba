"""Describes each change of the register in a sentence. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from app.catalogue.purposes import PURPOSES_BY_NAME
from app.presentation.translation import BilingualText, translated
from app.public_register.legal_texts import BASES
from app.public_register.register_model import RegisterChange
from app.public_register.register_value_formatter import RegisterFormatter

_KINDS: Final[Mapping[str, BilingualText]] = {
    "site_added": translated("Site added to the register."),
    "site_renamed": translated("Site renamed; it was called “{from}”."),
    "site_moved": translated("Site moved to another cell."),
    "site_removed": translated("Site removed from the register."),
    "boxes_added": translated("Boxes added: {count}."),
    "boxes_removed": translated("Boxes removed: {count}."),
    "boxes_moved": translated("Boxes moved to another cell: {count}."),
    "address_changed": translated("Address of the site changed."),
    "licence_changed": translated("Licence of open data changed: {from} → {to}."),
    "defaults_withdrawn": translated(
        "Publication by default ended: {purposes}. The operator had not decided on it; figures are "
        "published again once the operator decides so."
    ),
    "purpose_declared": translated("Purpose declared: {purposes}. Legal basis: {basis}."),
    "purpose_changed": translated("Purpose changed: {purposes} ({changes})."),
    "purpose_approved": translated("Purpose approved by a second person: {purposes}."),
    "purpose_approval_withdrawn": translated(
        "Approval of a purpose ended: {purposes}. No data are accepted for it until it is approved again."
    ),
    "purpose_ended": translated("Purpose ended: {purposes}."),
    "retention_changed": translated("Storage period changed: {retention}."),
    "precision_changed": translated("Precision of the locations changed from {from} to {to}."),
}
_SEVERAL: Final[Mapping[str, BilingualText]] = {
    "purpose_declared": translated("Purposes declared: {purposes}. Legal basis: {basis}."),
    "purpose_changed": translated("Purposes changed: {purposes} ({changes})."),
    "purpose_approved": translated("Purposes approved by a second person: {purposes}."),
    "purpose_approval_withdrawn": translated(
        "Approval of purposes ended: {purposes}. No data are accepted for them until they are approved again."
    ),
    "purpose_ended": translated("Purposes ended: {purposes}."),
}
_FIELDS: Final[Mapping[str, BilingualText]] = {
    "legal_basis": translated("legal basis"),
    "legal_reference": translated("reference text"),
    "controller": translated("controller"),
    "contact": translated("contact"),
    "impact_assessment": translated("impact assessment"),
    "notice": translated("notice to the public"),
    "description": translated("description (English)"),
    "description_fr": translated("description (French)"),
    "open_data": translated("publication of figures"),
    "starts_at": translated("beginning"),
    "ends_at": translated("end"),
}
_FROM_TO: Final = translated("{field}: {from} → {to}")
_OWN: Final = translated("{purpose}: {retention}")
_OTHERWISE: Final = translated("all else: {retention}")
_NOT_SET: Final = translated("not set", context="feminine")
_BEGINNING_NOT_SET: Final = translated("not set", context="masculine")
"""Of `starts_at`, the only field with a masculine name in French ("début")."""
_TRUTH: Final = {True: translated("yes"), False: translated("no")}


def describe_change(change: RegisterChange, formatter: RegisterFormatter) -> str:
    """Describe a change in a sentence; a kind without a text is returned as its name."""
    several = len(change.data.get("purposes") or ()) > 1
    known = (_SEVERAL if several and change.kind in _SEVERAL else _KINDS).get(change.kind)
    if known is None:
        return change.kind
    return formatter.fill(known, **_values(change, formatter))


def _values(change: RegisterChange, formatter: RegisterFormatter) -> dict[str, str]:
    data = change.data
    match change.kind:
        case "site_renamed":
            return {"from": str(data["from"])}
        case "boxes_added" | "boxes_removed" | "boxes_moved":
            return {"count": formatter.number(data["count"])}
        case "precision_changed" | "licence_changed":
            return {name: _step(data[name], formatter) for name in ("from", "to")}
        case "retention_changed":
            return {"retention": _retention(data, formatter)}
        case _ if "purposes" in data or "purpose" in data:
            # `purposes` where `app.public_register.change_history` has merged several changes.
            names = data["purposes"] if "purposes" in data else [data["purpose"]]
            return {
                "purposes": formatter.joined([format_purpose_name(name, formatter) for name in names]),
                "basis": _format_value("legal_basis", data.get("legal_basis"), formatter),
                "changes": formatter.listed(
                    [_change(name, values, formatter) for name, values in data.get("changes", {}).items()]
                ),
            }
        case _:
            return {}


def _step(value: int | str | None, formatter: RegisterFormatter) -> str:
    """Format a value before or after a change: a width of cells, or a licence."""
    if value is None:
        return formatter.translate(_NOT_SET)
    return formatter.length(value) if isinstance(value, int) else value


def _retention(data: Mapping[str, Any], formatter: RegisterFormatter) -> str:
    """Format the new retention: that of each purpose with its own number of days, then the general one."""
    removes = data["removes"]
    general = formatter.retention(data["days"], removes=removes)
    own = [
        formatter.fill(
            _OWN,
            purpose=format_purpose_name(name, formatter),
            retention=formatter.retention(days, removes=removes),
        )
        for name, days in (data.get("purposes") or {}).items()
    ]
    return formatter.listed([*own, formatter.fill(_OTHERWISE, retention=general)]) if own else general


def format_purpose_name(name: str, formatter: RegisterFormatter) -> str:
    """Format the title of a purpose by its name; an unknown name is returned as it is."""
    known = next((each for key, each in PURPOSES_BY_NAME.items() if key == name), None)
    return name if known is None else formatter.translate(BilingualText(known.title, known.title_fr))


def _change(name: str, values: Mapping[str, Any] | None, formatter: RegisterFormatter) -> str:
    """Format the change of a field; without values (texts are not in the history) it is the field alone."""
    field = formatter.translate(_FIELDS[name]) if name in _FIELDS else name
    if values is None:
        return field
    return formatter.fill(
        _FROM_TO,
        **{
            "field": field,
            "from": _format_value(name, values["from"], formatter),
            "to": _format_value(name, values["to"], formatter),
        },
    )


def _format_value(name: str, value: object, formatter: RegisterFormatter) -> str:
    if value is None:
        return formatter.translate(_BEGINNING_NOT_SET if name == "starts_at" else _NOT_SET)
    if isinstance(value, bool):
        return formatter.translate(_TRUTH[value])
    if name == "legal_basis":
        return formatter.translate(BASES[str(value)][0]) if value in BASES else str(value)
    return formatter.day(datetime.fromisoformat(str(value)))
