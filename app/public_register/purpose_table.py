"""Builds the section on the purposes of a site: common statements once, differences in a table. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.catalogue.device_event_types import EVENT_TYPE_OF
from app.catalogue.metric_display_names import get_metric_title
from app.presentation.translation import BilingualText
from app.public_register import dtpr
from app.public_register.legal_texts import BASES, RETENTION_TEXTS, STANDINGS
from app.public_register.page_texts import WORDS
from app.public_register.register_model import OpenData, PublishedPurpose, PublishedSite, RegisterSnapshot
from app.public_register.register_value_formatter import RegisterFormatter


@dataclass(frozen=True, slots=True)
class PurposeStatement:
    """The statement of a purpose under one heading.

    Attributes:
        text: The statement; empty: the operator has not made one.
        note: An explanation.
        href: A link.
    """

    text: str
    note: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class _PurposeInputs:
    """All that statements are built from."""

    site: PublishedSite
    data: OpenData
    formatter: RegisterFormatter
    register: RegisterSnapshot


type _Field = Callable[[PublishedPurpose, _PurposeInputs], PurposeStatement]


def build_purpose_context(
    site: PublishedSite, data: OpenData, formatter: RegisterFormatter, register: RegisterSnapshot
) -> dict[str, Any]:
    """Build the template variables of the section: common and differing statements, purposes, defaults.

    Args:
        site: The site.
        data: Its open data, which say what it measured.
        formatter: The language, and the time zone of the site.
        register: The register, with its time.
    """
    inputs = _PurposeInputs(site, data, formatter, register)
    answers = {
        key: [answer(each, inputs) for each in site.declared] if site.declared else []
        for key, answer in _FIELDS.items()
    }
    same = {key for key, found in answers.items() if len(set(found)) == 1}
    return {
        "common": [(formatter.word(key), answers[key][0]) for key in answers if key in same],
        "differing": [
            (formatter.word(key), _grouped(found, site.declared, formatter))
            for key, found in answers.items()
            if found and key not in same
        ],
        "rows": [_row(each, inputs) for each in site.declared],
        "defaults": _defaults([each for each in site.purposes if not each.is_declared], inputs),
        "chains": [_chain(each, inputs) for each in site.active],
    }


def format_purpose_title(purpose: PublishedPurpose, formatter: RegisterFormatter) -> str:
    """Format the title of a purpose."""
    return formatter.translate(BilingualText(purpose.known.title, purpose.known.title_fr))


def select_purpose_description(
    purpose: PublishedPurpose, formatter: RegisterFormatter
) -> tuple[str | None, str]:
    """Select the operator's description in the page's language, else in the other one.

    Returns:
        The description, and its language if that is not the page's.
    """
    texts = {"en": purpose.description, "fr": purpose.description_fr}
    other = "en" if formatter.language == "fr" else "fr"
    if texts[formatter.language]:
        return texts[formatter.language], ""
    return texts[other], other if texts[other] else ""


def _row(each: PublishedPurpose, inputs: _PurposeInputs) -> dict[str, Any]:
    description, language = select_purpose_description(each, inputs.formatter)
    return {
        "name": each.purpose,
        "title": format_purpose_title(each, inputs.formatter),
        "in_force": each.in_force,
        "sensitive": each.sensitive,
        "standing": inputs.formatter.translate(STANDINGS[each.standing(inputs.register.at)]),
        "description": description,
        "description_language": language,
        **_measures(each, inputs),
    }


def _measures(each: PublishedPurpose, inputs: _PurposeInputs) -> dict[str, str]:
    formatter, known = inputs.formatter, each.known
    measured = [name for name in known.metrics if name in inputs.data.measured]
    others = [name for name in known.metrics if name not in inputs.data.measured]
    rest = formatter.listed([get_metric_title(name, formatter.language) for name in others])
    return {
        "measured": formatter.listed([get_metric_title(name, formatter.language) for name in measured]),
        "unmeasured": rest if measured else "",
        "none_measured": formatter.word("none_measured_now").format(names=rest)
        if others and not measured
        else "",
        "events": ", ".join(
            formatter.translate(BilingualText(EVENT_TYPE_OF[name].title, EVENT_TYPE_OF[name].title_fr))
            for name in known.events
        ),
    }


def _grouped(
    answers: Sequence[PurposeStatement], purposes: Sequence[PublishedPurpose], formatter: RegisterFormatter
) -> list[tuple[str, PurposeStatement]]:
    """Group purposes with the same statement: each statement once, with the titles of its purposes."""
    titles: dict[PurposeStatement, list[str]] = {}
    for answer, purpose in zip(answers, purposes, strict=True):
        titles.setdefault(answer, []).append(format_purpose_title(purpose, formatter))
    return [(formatter.joined(named), answer) for answer, named in titles.items()]


def _defaults(purposes: Sequence[PublishedPurpose], inputs: _PurposeInputs) -> list[str]:
    """Describe undeclared purposes: a line for each that is measured, and one for all others."""
    formatter = inputs.formatter
    found = {format_purpose_title(each, formatter): _measures(each, inputs)["measured"] for each in purposes}
    lines = [
        formatter.fill(WORDS["default_measured"], title=title, names=names)
        for title, names in found.items()
        if names
    ]
    others = [title for title, names in found.items() if not names]
    if others:
        lines.append(formatter.fill(WORDS["default_unmeasured"], titles=formatter.joined(others)))
    return lines


def _chain(each: PublishedPurpose, inputs: _PurposeInputs) -> dict[str, Any]:
    """Describe a purpose by DTPR: each category with the names of its elements."""
    formatter, retention = inputs.formatter, inputs.site.retention
    names: dict[str, list[str]] = {}
    for one in dtpr.select_elements(inputs.site, each, formatter):
        names.setdefault(one.category, []).append(dtpr.format_element_name(one, formatter))
    # DTPR has no element for storage without a limit of time, but the page shows it.
    names.setdefault(
        "retention", [formatter.retention(retention.days(each.purpose), removes=retention.removes)]
    )
    return {
        "title": format_purpose_title(each, formatter),
        "categories": [
            (formatter.translate(title), names.get(category, []))
            for category, (title, _) in dtpr.CATEGORIES.items()
        ],
    }


def _basis(each: PublishedPurpose, inputs: _PurposeInputs) -> PurposeStatement:
    basis = BASES.get(each.legal_basis or "")
    if basis is None:
        return PurposeStatement(each.legal_basis or "")
    return PurposeStatement(*map(inputs.formatter.translate, basis))


def _controller(each: PublishedPurpose, inputs: _PurposeInputs) -> PurposeStatement:
    given = each.controller
    return PurposeStatement(
        given or inputs.formatter.fill(WORDS["controller_default"], name=inputs.site.operator)
    )


def _contact(each: PublishedPurpose, _: _PurposeInputs) -> PurposeStatement:
    contact = each.contact
    if contact is None:
        return PurposeStatement("")
    if " " in contact:
        return PurposeStatement(contact)
    if contact.startswith(("https://", "http://")):
        return PurposeStatement(contact, href=contact)
    return PurposeStatement(contact, href=f"mailto:{contact}" if contact.count("@") == 1 else "")


def _retention(each: PublishedPurpose, inputs: _PurposeInputs) -> PurposeStatement:
    retention, formatter = inputs.site.retention, inputs.formatter
    text = formatter.retention(retention.days(each.purpose), removes=retention.removes)
    if not each.known.metrics:
        return PurposeStatement(text)
    if retention.summaries_days is None:
        return PurposeStatement(f"{text}. {formatter.translate(RETENTION_TEXTS['summaries_ever'])}")
    summaries = formatter.translate(RETENTION_TEXTS["summaries"])
    return PurposeStatement(f"{text}. {summaries.format(formatter.days(retention.summaries_days))}")


def _notice(each: PublishedPurpose, _: _PurposeInputs) -> PurposeStatement:
    notice = each.notice or ""
    return PurposeStatement(notice, href=notice if notice.startswith(("https://", "http://")) else "")


def _approval(each: PublishedPurpose, inputs: _PurposeInputs) -> PurposeStatement:
    if each.approved_at is not None:
        return PurposeStatement(inputs.formatter.day(each.approved_at))
    return PurposeStatement(
        inputs.formatter.word("approval_missing" if each.sensitive else "approval_not_needed")
    )


def _open_data(each: PublishedPurpose, inputs: _PurposeInputs) -> PurposeStatement:
    if each.sensitive:
        key = "open_never"
    elif not each.open_data:
        key = "open_no"
    else:
        data = inputs.data
        drawn = any(data.hours.get(name) or data.days.get(name) for name in each.known.metrics)
        key = "open_yes" if drawn else "open_none_yet"
    return PurposeStatement(inputs.formatter.word(key))


_FIELDS: Final[Mapping[str, _Field]] = {
    "legal_basis": _basis,
    "legal_reference": lambda each, _: PurposeStatement(each.legal_reference or ""),
    "controller": _controller,
    "contact": _contact,
    "retention": _retention,
    "duration": lambda each, inputs: PurposeStatement(
        inputs.formatter.span(each.starts_at, each.ends_at, inputs.register.at)
    ),
    "impact_assessment": lambda each, _: PurposeStatement(each.impact_assessment or ""),
    "notice": _notice,
    "approval": _approval,
    "open_data": _open_data,
}
"""Headings by their key in `WORDS`, in the order of the page."""


def format_values_by_purpose(
    answers: Sequence[tuple[str, PublishedPurpose]], formatter: RegisterFormatter
) -> list[str]:
    """Format values of purposes, each once; differing values name their purposes."""
    titles: dict[str, list[str]] = {}
    for value, purpose in answers:
        titles.setdefault(value, []).append(format_purpose_title(purpose, formatter))
    if len(titles) == 1:
        return list(titles)
    return [
        formatter.fill(WORDS["of_which"], value=value, titles=formatter.joined(named))
        for value, named in titles.items()
    ]
