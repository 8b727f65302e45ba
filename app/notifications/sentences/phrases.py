"""Defines the phrases of sentences in one language; `phrases_en` and `phrases_fr` contain them.

Callers fill in the placeholders. Names of metrics are written as inside a sentence.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SentencePhrases:
    """The phrases of one language.

    Attributes:
        language: `en` or `fr`.
        metrics: The short name of each metric.
        units: Singular and plural of each unit of time, largest first.
        unnamed_site: A site without a known name.
        place: A site and one of its boxes.
        reading, window: A measured value, with `metric`, `place`, `value`, and for a window `function`.
        compared: By operator, with a number `x`.
        ranges: By side, with `low` and `high`.
        held: How long a condition had held when the alert fired.
        lasting: How long a rule's condition has to hold.
        in_a_row: How many times in a row a condition has to hold.
        silence, silence_of: No data, with `place`, `metric` and `time`.
        recognised: An event that a box recognised, with `place` and `what`.
        counted: The number of these events, with `count` and `time`.
        index: An index, with `title`, `place`, `value`.
        band, band_limit: The class of an index, and its limit.
        boxes: A condition that holds on boxes of a site, with `count`, `place` and `clause`.
        whole: A condition of several parts, with `rule`, `place`, `held` and `clause`.
        completed: The whole condition, after its part, with `held` and `clause`.
        plain: An alert without further data, with `rule`, `place`, `severity`.
        graded: The severity.
        changed, reminded, acknowledged: Appended to the sentence of an alert, by type of event.
        back, back_window, back_index, heard_again: The value that ended an alert.
        over: An alert that ended for another reason (`why`).
        lasted: The duration of an alert.
        percentile: A percentile, with `n`.
        over_window: A time window, with `window`.
        group: The counts of a group, and its first alert.
        incidents: By type of event, with `where` (`incident_place`), `what` and `outcome`.
        requests: By type of event, with `reference` and `due`.
        clauses, rules: The phrases of rules.
        days: The days of the week, from Monday.
    """

    language: str
    metrics: Mapping[str, str]
    units: tuple[tuple[int, str, str], ...]
    unnamed_site: str
    place: str
    reading: str
    window: str
    compared: Mapping[str, str]
    ranges: Mapping[str, str]
    held: str
    lasting: str
    in_a_row: str
    silence: str
    silence_of: str
    recognised: str
    counted: str
    index: str
    band: str
    band_limit: str
    boxes: str
    whole: str
    completed: str
    plain: str
    graded: str
    changed: str
    reminded: str
    acknowledged: str
    back: str
    back_window: str
    back_index: str
    heard_again: str
    over: str
    lasted: str
    percentile: str
    over_window: str
    group: str
    incidents: Mapping[str, str]
    requests: Mapping[str, str]
    incident_place: str
    clauses: Mapping[str, str]
    rules: Mapping[str, str]
    days: tuple[str, ...]
