"""The purposes of a site for its page: what holds for all of them once, what differs in a table. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.catalogue.device_event_types import EVENT_TYPE_OF
from app.indicators.index_results import BilingualText
from app.public_register import dtpr
from app.public_register.legal_texts import BASES, KEPT, STANDINGS
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import OpenData, PublishedPurpose, PublishedSite, RegisterSnapshot


@dataclass(frozen=True, slots=True)
class PurposeStatement:
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

    site: PublishedSite
    data: OpenData
    writing: RegisterFormatter
    register: RegisterSnapshot


type _Field = Callable[[PublishedPurpose, _Asked], PurposeStatement]


def build_purpose_context(
    site: PublishedSite, data: OpenData, writing: RegisterFormatter, register: RegisterSnapshot
) -> dict[str, Any]:
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


def format_purpose_title(purpose: PublishedPurpose, writing: RegisterFormatter) -> str:
    """What people call a purpose."""
    return writing.said(BilingualText(purpose.known.title, purpose.known.title_fr))


def select_purpose_description(
    purpose: PublishedPurpose, writing: RegisterFormatter
) -> tuple[str | None, str]:
    """The operator's words in the language, or in the other one; and which that is, where it is the other."""
    texts = {"en": purpose.description, "fr": purpose.description_fr}
    other = "en" if writing.language == "fr" else "fr"
    if texts[writing.language]:
        return texts[writing.language], ""
    return texts[other], other if texts[other] else ""


def _row(each: PublishedPurpose, asked: _Asked) -> dict[str, Any]:
    description, language = select_purpose_description(each, asked.writing)
    return {
        "name": each.purpose,
        "title": format_purpose_title(each, asked.writing),
        "in_force": each.in_force,
        "sensitive": each.sensitive,
        "standing": asked.writing.said(STANDINGS[each.standing(asked.register.at)]),
        "description": description,
        "description_language": language,
        **_measures(each, asked),
    }


def _measures(each: PublishedPurpose, asked: _Asked) -> dict[str, str]:
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
            writing.said(BilingualText(EVENT_TYPE_OF[name].title, EVENT_TYPE_OF[name].title_fr))
            for name in known.events
        ),
    }


def _grouped(
    answers: Sequence[PurposeStatement], purposes: Sequence[PublishedPurpose], writing: RegisterFormatter
) -> list[tuple[str, PurposeStatement]]:
    """Each answer once, with the purposes that it is of."""
    titles: dict[PurposeStatement, list[str]] = {}
    for answer, purpose in zip(answers, purposes, strict=True):
        titles.setdefault(answer, []).append(format_purpose_title(purpose, writing))
    return [(writing.joined(named), answer) for answer, named in titles.items()]


def _defaults(purposes: Sequence[PublishedPurpose], asked: _Asked) -> list[str]:
    """What came with the site: a line for each that is measured, and one for all others."""
    writing = asked.writing
    found = {format_purpose_title(each, writing): _measures(each, asked)["measured"] for each in purposes}
    lines = [
        writing.filled(WORDS["default_measured"], title=title, names=names)
        for title, names in found.items()
        if names
    ]
    others = [title for title, names in found.items() if not names]
    if others:
        lines.append(writing.filled(WORDS["default_unmeasured"], titles=writing.joined(others)))
    return lines


def _chain(each: PublishedPurpose, asked: _Asked) -> dict[str, Any]:
    """A purpose in the words of DTPR: each category with its elements."""
    writing, retention = asked.writing, asked.site.retention
    names: dict[str, list[str]] = {}
    for one in dtpr.select_elements(asked.site, each, writing):
        names.setdefault(one.category, []).append(dtpr.format_element_name(one, writing))
    # DTPR has no element for data that are kept for good: the page says so all the same.
    names.setdefault("retention", [writing.kept(retention.days(each.purpose), removes=retention.removes)])
    return {
        "title": format_purpose_title(each, writing),
        "categories": [
            (writing.said(title), names.get(category, [])) for category, (title, _) in dtpr.CATEGORIES.items()
        ],
    }


def _basis(each: PublishedPurpose, asked: _Asked) -> PurposeStatement:
    basis = BASES.get(each.legal_basis or "")
    if basis is None:
        return PurposeStatement(each.legal_basis or "")
    return PurposeStatement(*map(asked.writing.said, basis))


def _controller(each: PublishedPurpose, asked: _Asked) -> PurposeStatement:
    given = each.controller
    return PurposeStatement(
        given or asked.writing.filled(WORDS["controller_default"], name=asked.site.operator)
    )


def _contact(each: PublishedPurpose, _: _Asked) -> PurposeStatement:
    contact = each.contact
    if contact is None:
        return PurposeStatement("")
    if " " in contact:
        return PurposeStatement(contact)
    if contact.startswith(("https://", "http://")):
        return PurposeStatement(contact, href=contact)
    return PurposeStatement(contact, href=f"mailto:{contact}" if contact.count("@") == 1 else "")


def _retention(each: PublishedPurpose, asked: _Asked) -> PurposeStatement:
    retention, writing = asked.site.retention, asked.writing
    said = writing.kept(retention.days(each.purpose), removes=retention.removes)
    if not each.known.metrics:
        return PurposeStatement(said)
    if retention.summaries_days is None:
        return PurposeStatement(f"{said}. {writing.said(KEPT['summaries_ever'])}")
    return PurposeStatement(
        f"{said}. {writing.said(KEPT['summaries']).format(writing.days(retention.summaries_days))}"
    )


def _notice(each: PublishedPurpose, _: _Asked) -> PurposeStatement:
    notice = each.notice or ""
    return PurposeStatement(notice, href=notice if notice.startswith(("https://", "http://")) else "")


def _approval(each: PublishedPurpose, asked: _Asked) -> PurposeStatement:
    if each.approved_at is not None:
        return PurposeStatement(asked.writing.day(each.approved_at))
    return PurposeStatement(
        asked.writing.word("approval_missing" if each.sensitive else "approval_not_needed")
    )


def _open_data(each: PublishedPurpose, asked: _Asked) -> PurposeStatement:
    if each.sensitive:
        key = "open_never"
    elif not each.open_data:
        key = "open_no"
    else:
        data = asked.data
        drawn = any(data.hours.get(name) or data.days.get(name) for name in each.known.metrics)
        key = "open_yes" if drawn else "open_none_yet"
    return PurposeStatement(asked.writing.word(key))


_FIELDS: Final[Mapping[str, _Field]] = {
    "legal_basis": _basis,
    "legal_reference": lambda each, _: PurposeStatement(each.legal_reference or ""),
    "controller": _controller,
    "contact": _contact,
    "retention": _retention,
    "duration": lambda each, asked: PurposeStatement(
        asked.writing.span(each.starts_at, each.ends_at, asked.register.at)
    ),
    "impact_assessment": lambda each, _: PurposeStatement(each.impact_assessment or ""),
    "notice": _notice,
    "approval": _approval,
    "open_data": _open_data,
}
"""Headings, by their key in `WORDS`, in the order in which they are shown."""


def format_values_by_purpose(
    answers: Sequence[tuple[str, PublishedPurpose]], writing: RegisterFormatter
) -> list[str]:
    """Give answers of purposes, each once; where they differ, with the purposes that each is of."""
    titles: dict[str, list[str]] = {}
    for value, purpose in answers:
        titles.setdefault(value, []).append(format_purpose_title(purpose, writing))
    if len(titles) == 1:
        return list(titles)
    return [
        writing.filled(WORDS["of_which"], value=value, titles=writing.joined(named))
        for value, named in titles.items()
    ]
