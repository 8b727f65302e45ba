"""The tables of docs/acoustic-sources.md, made from the catalogue."""

from collections.abc import Callable, Mapping

from app.catalogue.acoustic_sources import CATALOGUE
from tests.unit.markdown import rows


def versions() -> str:
    body = [(str(each.version), each.date.isoformat(), each.changes) for each in CATALOGUE.versions]
    return rows("version", "since", "what changed", body=body)


def classes() -> str:
    body = []
    for name, term in CATALOGUE.classes.items():
        models = sum(each.class_ == name for each in CATALOGUE.firearms)
        body.append((f"`{name}`", term.label, term.label_fr, str(models) if models else "look-alike"))
    return rows("`class`", "in English", "in French", "models", body=body)


def mechanisms() -> str:
    body = [(f"`{name}`", term.label, term.label_fr) for name, term in CATALOGUE.mechanisms.items()]
    return rows("mechanism", "in English", "in French", body=body)


def firearms() -> str:
    body = [
        (
            f"`{each.id}`",
            each.name,
            each.maker or "several",
            f"`{each.class_}`",
            each.calibre,
            f"`{each.mechanism}`",
            ", ".join(each.fire_modes),
            each.projectile,
            "" if each.note is None else f"{each.note} / {each.note_fr}",
        )
        for each in CATALOGUE.firearms
    ]
    header = ("`model`", "name", "maker", "`class`", "calibre", "mechanism", "fire modes", "projectile")
    return rows(*header, "note", body=body)


def look_alikes() -> str:
    body = [
        (f"`{each.id}`", f"{each.name} / {each.name_fr}", each.hint, each.hint_fr)
        for each in CATALOGUE.look_alikes
    ]
    return rows("`class`", "name", "how it differs from a shot", "en français", body=body)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "acoustic-versions": versions,
    "acoustic-classes": classes,
    "acoustic-mechanisms": mechanisms,
    "acoustic-firearms": firearms,
    "acoustic-look-alikes": look_alikes,
}
