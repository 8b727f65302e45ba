"""Holds the phrases that sentences on alerts and rules consist of, in English and French.

Callers fill in the placeholders. Names of metrics are written as inside a sentence.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from app.presentation.languages import Language
from app.presentation.translation import translate_fields


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SentencePhrases:
    """The phrases of one language.

    Attributes:
        language: `en` or `fr`.
        metrics: The short name of each metric.
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
        no_event, fewer_events: Why an alert on events ended, with `time` and `count`.
        lasted: The duration of an alert.
        percentile: A percentile, with `n`.
        over_window: A time window, with `window`.
        group: The counts of a group, and its first alert.
        incidents: By type of event, with `where` (`incident_place`), `what` and `outcome`.
        requests: By type of event, with `reference` and `due`.
        clauses, rules: The phrases of rules.
        days: The days of the week, from Monday.
    """

    language: Language
    metrics: Mapping[str, str]
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
    no_event: str
    fewer_events: str
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


METRICS: Final = {
    "pm1": "PM1",
    "pm2_5": "PM2.5",
    "pm4": "PM4",
    "pm10": "PM10",
    "no": "NO",
    "no2": "NO2",
    "o3": "ozone",
    "so2": "SO2",
    "co": "CO",
    "co2": "CO2",
    "tvoc": "TVOC",
    "h2s": "H2S",
    "nh3": "ammonia",
    "hcho": "formaldehyde",
    "benzene": "benzene",
    "temperature": "temperature",
    "humidity": "humidity",
    "pressure": "air pressure",
    "illuminance": "illuminance",
    "laeq": "sound level (LAeq)",
    "lamax": "highest sound level (LAmax)",
    "lcpeak": "peak sound level (LCpeak)",
    "la10": "sound level (LA10)",
    "la50": "sound level (LA50)",
    "la90": "sound level (LA90)",
    "odour": "odour",
    "battery": "battery charge",
    "rssi": "radio signal",
}
"""The short names of metrics."""

PHRASES: Final = SentencePhrases(
    language="en",
    metrics=METRICS,
    unnamed_site="the site",
    place="{site} ({box})",
    reading="{metric} at {place} is {value}",
    window="{function} of {metric}{over} at {place} is {value}",
    compared={
        ">": "above {x}",
        ">=": "at or above {x}",
        "<": "below {x}",
        "<=": "at or below {x}",
        "=": "at the limit of {x}",
    },
    ranges={"outside": "outside {low} to {high}", "inside": "within {low} to {high}"},
    held=" for {time}",
    lasting=" for {time}",
    in_a_row=", {count} times in a row",
    silence="No data from {place} for {time}",
    silence_of="No {metric} from {place} for {time}",
    recognised="{what} recognised at {place}",
    counted=", {count} times in {time}",
    index="{title} at {place} is {value}",
    band="in class “{band}”",
    band_limit="limit: “{band}” or worse",
    boxes="{count} at {place}: {clause}",
    whole="“{rule}” holds at {place}{held}: {clause}",
    completed="; the whole condition holds{held}: {clause}",
    plain="“{rule}” fires at {place}{severity}",
    graded=": {severity}",
    changed="; the severity went from {previous} to {severity}",
    reminded="; nobody has acknowledged it",
    acknowledged="; acknowledged by {who}",
    back="{metric} at {place} is back to {value}{lasted}",
    back_window="{function} of {metric}{over} at {place} is back to {value}{lasted}",
    back_index="{title} at {place} is back to {value}{lasted}",
    heard_again="Data comes from {place} again{lasted}",
    over="“{rule}” at {place} is over{lasted}: {why}",
    no_event="no further event for {time}",
    fewer_events="fewer than {count} events in {time}",
    lasted=" after {time}",
    percentile="{n}th percentile",
    over_window=" over {window}",
    group="{counts}: {first}",
    incidents={
        "incident.detected": "Possible {what} {where}",
        "incident.updated": "More is known about a possible {what} {where}",
        "incident.confirmed": "A person confirmed an incident {where}: {outcome}",
        "incident.dismissed": "The incident {where} was dismissed: {outcome}",
    },
    requests={
        "rights.received": "A rights request has arrived ({reference}): answer it by {due}",
        "rights.overdue": "A rights request ({reference}) was due on {due}",
    },
    incident_place="at {place}",
    clauses={
        "value": "{metric} is {compared}",
        "window": "the {function} of {metric}{over} is {compared}",
        "silence": "no data comes for {time}",
        "silence_of": "no {metric} comes for {time}",
        "event": "a box recognises “{what}”{details}",
        "confidence": "with a confidence of {percent} or more",
        "times": "{count} times in {time}",
        "index": "{title} is {compared}",
        "index_of": "{title} ({metric})",
        "band": "“{band}” or worse",
        "box": "{clause} on {box}",
        "and": " and ",
        "or": " or ",
        "not": "not ({clause})",
        "unless": "unless {clause}",
        "at_least": "{clause} at {count} or more",
        "share": "{clause} at {share} or more of the boxes",
        "among": " {scope}",
        "attribute": "its “{name}”",
        "attribute_default": "its “{name}” ({default} where it has none)",
        "kinds": "of kind {names}",
        "tags": "with tag {names}",
        "boxes": "{names}",
        "together": ", all of it{timing}",
    },
    rules={
        "level": "{severity} when {clause}",
        "level_unless": "{severity} {clause}",
        "level_end": "{level}, until {clear}",
        "clear_down": "at or below {x}",
        "clear_up": "at or above {x}",
        "calm": "It ends once that has been over for {time}.",
        "scope": "Only for boxes {scope}.",
        "active": "Only {hours}.",
        "hours": "{days} from {start} to {end}",
        "every_day": "every day",
        "trial": "This is a dry run: no notifications are sent.",
        "one_box": "{} box",
        "several_boxes": "{} boxes",
    },
    days=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
)
"""The phrases as typed, which the message catalogue has as `msgid`."""

ENGLISH: Final = translate_fields(PHRASES, "en", context="sentence")
FRENCH: Final = translate_fields(PHRASES, "fr", context="sentence")
