"""Describes changes of rules and boxes in one sentence. Pure.

Alerts, incidents and endpoints have the sentences of their events (`app.notifications.sentences`).
"""

from collections.abc import Mapping
from typing import Final

from app.presentation.languages import Language
from app.presentation.translation import BilingualText, choose_text, translated
from app.presentation.typography import clean_line

_NAME_LIMIT: Final = 80
_RULES: Final[Mapping[str, BilingualText]] = {
    "rule.created": translated("Rule “{rule}” was created"),
    "rule.changed": translated("Rule “{rule}” was changed"),
    "rule.deleted": translated("Rule “{rule}” was deleted"),
}
_RULES_BY: Final[Mapping[str, BilingualText]] = {
    "rule.created": translated("{who} created the rule “{rule}”"),
    "rule.changed": translated("{who} changed the rule “{rule}”"),
    "rule.deleted": translated("{who} deleted the rule “{rule}”"),
}
_BOXES: Final[Mapping[str, BilingualText]] = {
    "box.silent": translated("Box {box} ({site}) sends nothing any more"),
    "box.unheard": translated("Box {box} ({site}) has not sent measurements yet"),
    "box.online": translated("Box {box} ({site}) is online"),
    "box.offline": translated("Box {box} ({site}) is offline"),
}


def describe_rule_change(kind: str, rule: str, who: str | None, language: Language) -> str:
    """Describe a change of a rule.

    Args:
        kind: `rule.created`, `rule.changed` or `rule.deleted`.
        rule: The name of the rule.
        who: The name of the API key or the person; None: unknown.
        language: The language.
    """
    text = choose_text((_RULES_BY if who else _RULES)[kind], language)
    return text.format(rule=clean_line(rule, _NAME_LIMIT), who=clean_line(who or "", _NAME_LIMIT))


def describe_box_change(kind: str, box: str, site: str, language: Language, *, was_heard: bool = True) -> str:
    """Describe a change of a box.

    Args:
        kind: `box.silent`, `box.online` or `box.offline`.
        box: The name of the box, or its id.
        site: The name of its site.
        language: The language.
        was_heard: Whether the box ever sent a sample.
    """
    text = choose_text(_BOXES[kind if was_heard else "box.unheard"], language)
    return text.format(box=clean_line(box, _NAME_LIMIT), site=clean_line(site, _NAME_LIMIT))
