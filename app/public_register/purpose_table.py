"""The purposes of a site for its page: what holds for all of them once, what differs in a table. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.catalogue.device_event_types import EVENT_TYPE_OF
from app.indicators.index_results import Text
from app.public_register import dtpr
from app.public_register.legal_texts import BASES, KEPT, STANDINGS
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import Writing
from app.public_register.register_model import OpenData, PurposeEntry, Register, SiteEntry


@dataclass(frozen=True, slots=True)
class Answer:
    """What a purpose says under one heading.

    Attributes:
        text: In words; empty: the operator has not said it.
        note: What that means.
        href: Where it leads.
    """

    text: str
    note: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What answers are made of."""

    site: SiteEntry
    data: OpenData
    writing: Writing
    register: Register


type _Field = Callable[[PurposeEntry, _Asked], Answer]


def purpose_parts(site: SiteEntry, data: OpenData, writing: Writing, register: Register) -> dict[str, Any]:
    """Make what the template has of purposes: common answers, those that differ, rows, and mere defaults."""
    asked = _Asked(site, data, writing, register)
    answers = {
        key: [answer(each, asked) for each in site.declared] if site.declared else []
        for key, answer in _FIELDS.items()
    }
    same = {key for key, found in answers.items() if len(set(found)) == 1}
    return {
        "common": [(writing.word(key), answers[key][0]) for key in answers if key in same],
        "differing": [
            (writing.word(key), _grouped(found, site.declared, writing))
            for key, found in answers.items()
            if found and key not in same
        ],
        "rows": [_row(each, asked) for each in site.declared],
        "defaults": _defaults([each for each in site.purposes if not each.is_declared], asked),
        "chains": [_chain(each, asked) for each in site.active],
    }


def title_of(purpose: PurposeEntry, writing: Writing) -> str:
    """What people call a purpose."""
    return writing.said(Text(purpose.known.title, purpose.known.title_fr))


def description_of(purpose: PurposeEntry, writing: Writing) -> tuple[str | None, str]:
    """The operator's words in the language, or in the other one; and which that is, where it is the other."""
    texts = {"en": purpose.description, "fr": purpose.description_fr}
    other = "en" if writing.language == "fr" else "fr"
    if texts[writing.language]:
        return texts[writing.language], ""
    return texts[other], other if texts[other] else ""


def _row(each: PurposeEntry, asked: _Asked) -> dict[str, Any]:
    description, language = description_of(each, asked.writing)
    return {
        "name": each.purpose,
        "title": title_of(each, asked.writing),
        "in_force": each.in_force,
        "sensitive": each.sensitive,
        "standing": asked.writing.said(STANDINGS[each.standing(asked.register.at)]),
        "description": description,
        "description_language": language,
        **_measures(each, asked),
    }


def _measures(each: PurposeEntry, asked: _Asked) -> dict[str, str]:
    writing, known = asked.writing, each.known
    names = writing.formats.words
    measured = [name for name in known.metrics if name in asked.data.measured]
    others = [name for name in known.metrics if name not in asked.data.measured]
    rest = writing.listed([names(name) for name in others])
    return {
        "measured": writing.listed([names(name) for name in measured]),
        "unmeasured": rest if measured else "",
        "none_measured": writing.word("none_measured_now").format(names=rest)
        if others and not measured
        else "",
        "events": ", ".join(
            writing.said(Text(EVENT_TYPE_OF[name].title, EVENT_TYPE_OF[name].title_fr))
            for name in known.events
        ),
    }


def _grouped(
    answers: Sequence[Answer], purposes: Sequence[PurposeEntry], writing: Writing
) -> list[tuple[str, Answer]]:
    """Each answer once, with the purposes that it is of."""
    titles: dict[Answer, list[str]] = {}
    for answer, purpose in zip(answers, purposes, strict=True):
        titles.setdefault(answer, []).append(title_of(purpose, writing))
    return [(writing.joined(named), answer) for answer, named in titles.items()]


def _defaults(purposes: Sequence[PurposeEntry], asked: _Asked) -> list[str]:
    """What came with the site: a line for each that is measured, and one for all others."""
    writing = asked.writing
    found = {title_of(each, writing): _measures(each, asked)["measured"] for each in purposes}
    lines = [
        writing.filled(WORDS["default_measured"], title=title, names=names)
        for title, names in found.items()
        if names
    ]
    others = [title for title, names in found.items() if not names]
    if others:
        lines.append(writing.filled(WORDS["default_unmeasured"], titles=writing.joined(others)))
    return lines


def _chain(each: PurposeEntry, asked: _Asked) -> dict[str, Any]:
    """A purpose in the words of DTPR: each category with its elements."""
    writing, retention = asked.writing, asked.site.retention
    names: dict[str, list[str]] = {}
    for one in dtpr.elements(asked.site, each, writing):
        names.setdefault(one.category, []).append(dtpr.named(one, writing))
    # DTPR has no element for data that are kept for good: the page says so all the same.
    names.setdefault("retention", [writing.kept(retention.days(each.purpose), removes=retention.removes)])
    return {
        "title": title_of(each, writing),
        "categories": [
            (writing.said(title), names.get(category, [])) for category, (title, _) in dtpr.CATEGORIES.items()
        ],
    }


def _basis(each: PurposeEntry, asked: _Asked) -> Answer:
    basis = BASES.get(each.legal_basis or "")
    if basis is None:
        return Answer(each.legal_basis or "")
    return Answer(*map(asked.writing.said, basis))


def _controller(each: PurposeEntry, asked: _Asked) -> Answer:
    given = each.controller
    return Answer(given or asked.writing.filled(WORDS["controller_default"], name=asked.site.operator))


def _contact(each: PurposeEntry, _: _Asked) -> Answer:
    contact = each.contact
    if contact is None:
        return Answer("")
    if " " in contact:
        return Answer(contact)
    if contact.startswith(("https://", "http://")):
        return Answer(contact, href=contact)
    return Answer(contact, href=f"mailto:{contact}" if contact.count("@") == 1 else "")


def _retention(each: PurposeEntry, asked: _Asked) -> Answer:
    retention, writing = asked.site.retention, asked.writing
    said = writing.kept(retention.days(each.purpose), removes=retention.removes)
    if not each.known.metrics:
        return Answer(said)
    if retention.summaries_days is None:
        return Answer(f"{said}. {writing.said(KEPT['summaries_ever'])}")
    return Answer(f"{said}. {writing.said(KEPT['summaries']).format(writing.days(retention.summaries_days))}")


def _notice(each: PurposeEntry, _: _Asked) -> Answer:
    notice = each.notice or ""
    return Answer(notice, href=notice if notice.startswith(("https://", "http://")) else "")


def _approval(each: PurposeEntry, asked: _Asked) -> Answer:
    if each.approved_at is not None:
        return Answer(asked.writing.day(each.approved_at))
    return Answer(asked.writing.word("approval_missing" if each.sensitive else "approval_not_needed"))


def _open_data(each: PurposeEntry, asked: _Asked) -> Answer:
    if each.sensitive:
        key = "open_never"
    elif not each.open_data:
        key = "open_no"
    else:
        data = asked.data
        drawn = any(data.hours.get(name) or data.days.get(name) for name in each.known.metrics)
        key = "open_yes" if drawn else "open_none_yet"
    return Answer(asked.writing.word(key))


_FIELDS: Final[Mapping[str, _Field]] = {
    "legal_basis": _basis,
    "legal_reference": lambda each, _: Answer(each.legal_reference or ""),
    "controller": _controller,
    "contact": _contact,
    "retention": _retention,
    "duration": lambda each, asked: Answer(
        asked.writing.span(each.starts_at, each.ends_at, asked.register.at)
    ),
    "impact_assessment": lambda each, _: Answer(each.impact_assessment or ""),
    "notice": _notice,
    "approval": _approval,
    "open_data": _open_data,
}
"""Headings, by their key in `WORDS`, in the order in which they are shown."""


def of_which(answers: Sequence[tuple[str, PurposeEntry]], writing: Writing) -> list[str]:
    """Give answers of purposes, each once; where they differ, with the purposes that each is of."""
    titles: dict[str, list[str]] = {}
    for value, purpose in answers:
        titles.setdefault(value, []).append(title_of(purpose, writing))
    if len(titles) == 1:
        return list(titles)
    return [
        writing.filled(WORDS["of_which"], value=value, titles=writing.joined(named))
        for value, named in titles.items()
    ]
