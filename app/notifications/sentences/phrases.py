"""The phrases that sentences are made of: which there are. What they are is in `phrases_en` and `phrases_fr`.

Braces in them are filled in by whoever uses a phrase. Names of metrics are as they stand inside a sentence.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SentencePhrases:
    """The phrases of one language.

    Attributes:
        language: `en` or `fr`.
        metrics: The short name of each metric.
        units: One and several of each unit of time, the largest first.
        unnamed_site: Stands for a site without a known name.
        place: A site and one of its boxes.
        reading, window: What was measured: with `metric`, `place`, `value`, and of a window `function`.
        compared: By operator, with a number `x`.
        ranges: By side, with `low` and `high`.
        held: How long a condition held when the alert fired.
        lasting: How long a condition has to hold, in a rule.
        in_a_row: How often a condition has to hold.
        silence, silence_of: Nothing came, with `place`, `metric` and `time`.
        recognised: A box recognised something, with `place` and `what`.
        counted: How often it did, with `count` and `time`.
        index: A city's index, with `title`, `place`, `value`.
        band, band_limit: The class of an index, and the class that it is compared with.
        boxes: Boxes of a site raise a condition, with `count`, `place` and `clause`.
        whole: A condition of several parts holds, with `rule`, `place`, `held` and `clause`.
        completed: Stands after the part that decided, with `held` and `clause`.
        plain: An alert of which nothing else is known, with `rule`, `place`, `severity`.
        graded: Its severity.
        changed, reminded, acknowledged: Stand after the sentence of an alert, by what happened.
        back, back_window, back_index, heard_again: What was measured ended an alert.
        over: An alert ended for another reason (`why`).
        lasted: How long an alert lasted.
        percentile: With `n`.
        over_window: With `window`.
        group: How many alerts fire and have ended, and the first of them.
        incidents: By the type of the event, with `where` (`incident_place`), `what` and `outcome`.
        requests: By the type of the event, with `reference` and `due`.
        clauses, rules: What rules are described with.
        days: Of the week, from Monday on.
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
