"""Defines the texts of reports in English and French, with placeholders that callers fill in.

Titles of methods, classes and metrics are defined in `app.environmental_indices` and the catalogue.
`typeset_text` applies French typography.
"""

from collections.abc import Mapping
from typing import Final

from app.presentation.translation import BilingualText, translated
from app.reports.render.method_and_quality_texts import (
    CITATIONS_FR,
    COVERAGES_FR,
    DATA_WORDS,
    SITE_KINDS,
)

__all__ = ["CITATIONS_FR", "COVERAGES_FR", "SITE_KINDS", "WORDS"]

WORDS: Final[Mapping[str, BilingualText]] = {
    # The head.
    "report_day": translated("Daily report"),
    "report_week": translated("Weekly report"),
    "report_month": translated("Monthly report"),
    "client": translated("Client"),
    "place": translated("Kind of place"),
    "time_zone": translated("Time zone"),
    "period": translated("Period"),
    "from_to": translated("{first}, {first_at} to {last}, {last_at}"),
    "hours_of_day": translated("a day of {hours} hours (clocks changed)"),
    "made": translated("Generated"),
    "made_at": translated("{day}, {clock}"),
    "boxes": translated("Boxes"),
    "of": translated("of"),
    # Counts.
    "box_one": translated("{} box"),
    "box_many": translated("{} boxes"),
    "alert_one": translated("{} alert"),
    "alert_many": translated("{} alerts"),
    "day_one": translated("{} day"),
    "day_many": translated("{} days"),
    # Tiles.
    "tile_co2": translated("Highest CO₂, hourly mean"),
    "tile_who": translated("WHO guidelines exceeded"),
    "tile_noise_day": translated("Loudest Lden"),
    "tile_noise_month": translated("Loudest daily Lden"),
    "tile_leq": translated("Loudest mean level"),
    "tile_alerts": translated("Alerts"),
    "tile_coverage": translated("Measured"),
    "of_pollutants": translated("of {count} pollutants measured"),
    "critical_one": translated("{} of them critical", context="critical_one"),
    "critical_many": translated("{} of them critical", context="critical_many"),
    "of_the_period": translated("of the expected values"),
    "not_shown": translated("not shown"),
    # In short.
    "in_short": translated("In short", context="reports"),
    "short_coverage": translated("{boxes} measured {coverage} of the expected values{silent}."),
    "short_silent_one": translated("; one was silent throughout"),
    "short_silent_many": translated("; {count} were silent throughout"),
    "short_no_boxes": translated(
        "There are no boxes at this site: nothing was measured, and the period cannot be assessed."
    ),
    "short_no_data": translated(
        "None of the site's boxes ({boxes}) measured anything in this period, which cannot be assessed."
    ),
    "short_index": translated("{title}: at worst “{band}”, at {box} ({when})."),
    "short_who_none": translated("None of the daily WHO guidelines for {metrics} was exceeded."),
    "short_who_none_part": translated("{metric} ({days} of {total} days)"),
    "short_who": translated("The WHO guideline was exceeded for {parts}."),
    "who_percentile": translated(
        "The guideline refers to the 99th percentile of the days of a year: 3 to 4 days a year may exceed "
        "the value, so one such day is no breach of the guideline."
    ),
    "short_who_part": translated("{metric} ({value}, {ratio} the guideline of {limit}, at {box})"),
    "short_who_part_days": translated(
        "{metric} (on {days} at {box}; at most {ratio} the guideline of {limit})"
    ),
    "short_lden": translated("The loudest place was {box}: Lden {value}{night}, {when}."),
    "short_night": translated(", night {value}"),
    "short_leq": translated("The loudest place was {box}, with a mean level of {value}."),
    "short_co2": translated("CO₂ was highest at {box}: {value} over an hour (“{band}”)."),
    "short_alerts_none": translated("No alert began."),
    "short_alerts": translated("{alerts} began{critical}; the longest lasted {longest}."),
    "short_alert": translated("{alerts} began{critical}; it lasted {longest}."),
    "short_critical": translated(", {critical}"),
    "short_compared": translated("Compared with {before}: {parts}."),
    "against_day": translated("the day before"),
    "against_week": translated("the week before"),
    "against_month": translated("the month before"),
    # The strip.
    "strip_day": translated("Hour by hour: {title}"),
    "strip_month": translated("Day by day: {title}"),
    "strip_worst_hour": translated("worst hour of each day"),
    "site_worst": translated("Whole site (worst)"),
    "no_value": translated("No value"),
    "strip_said": translated("Classes of the site's worst box: {classes}."),
    "class_times": translated("{band}: {count}"),
    "strip_more": translated(
        "The {count} boxes with the worst values are shown; {more} others are included in the first row."
    ),
    # Indices.
    "indices": translated("Indices and guidelines"),
    "indices_intro": translated(
        "The box with the worst value for each figure. As in air quality indices, its value is that of the "
        "site."
    ),
    "figure": translated("Figure"),
    "worst_value": translated("Worst value"),
    "where": translated("Where"),
    "when": translated("When"),
    "class": translated("Class"),
    "compared_with": translated("Compared with"),
    "measured_share": translated("Measured"),
    "exceeded": translated("exceeded"),
    "respected": translated("met"),
    "reached": translated("reached"),
    "not_reached": translated("not reached"),
    "days_over": translated("Days over"),
    "days_over_cell": translated("{over} of {total}"),
    "boxes_without": translated("{count} of {total} boxes without a value"),
    "no_indices": translated("No figure could be computed from the measurements."),
    "unfinished": translated("Not available yet: {titles}. A noise day ends the next morning."),
    "odours_left_out": translated(
        "Left out: odour figures, because they would have required too many samples."
    ),
    "count": translated("Count"),
    # Charts.
    "air": translated("Air"),
    "noise": translated("Noise"),
    "rooms": translated("Rooms: comfort and air"),
    "hourly_means": translated("{metric}, hourly means"),
    "daily_means": translated("{metric}, daily means"),
    "daily_o3": translated("{metric}, highest 8-hour mean of each day"),
    "daily_co2": translated("{metric}, highest hourly mean of each day"),
    "limit_24h": translated("WHO, 24 h"),
    "limit_8h": translated("WHO, 8 h"),
    "limit_co2_low": translated("to be improved above"),
    "limit_co2_high": translated("insufficient above"),
    "hourly_noise": translated("Sound level, hourly energy means"),
    "daily_lden": translated("Day-evening-night level (Lden) of each day"),
    "daily_lnight": translated("Night level of each day"),
    "lday": translated("Day"),
    "levening": translated("Evening"),
    "lnight": translated("Night"),
    "lden": translated("Lden"),
    "leq": translated("Mean level"),
    "noise_table_day": translated("Levels of the parts of the day, dB"),
    "noise_table_month": translated("Levels of the loudest day of each box, dB"),
    "noise_parts": translated(
        "Day {day}, evening {evening}, night {night}. Lden adds 5 dB to evenings and 10 dB to nights."
    ),
    "from_until": translated("{first} to {last} h"),
    "range_of_boxes": translated("Lowest to highest of {count} boxes"),
    "median_of_boxes": translated("Median of the boxes"),
    "lowest": translated("Lowest", context="lowest"),
    "median": translated("Median"),
    "highest": translated("Highest", context="highest"),
    "hour": translated("Hour"),
    "day": translated("Day"),
    "chart_numbers": translated("Values of this chart"),
    "chart_said": translated(
        "{title}, {boxes}: lowest {low} ({low_box}, {low_at}), highest {high} ({high_box}, {high_at})."
    ),
    "chart_key": translated("Key"),
    # The period before.
    "comparison": translated("The period before"),
    "comparison_day": translated("Means of the boxes, compared with {before}", context="comparison_day"),
    "comparison_month": translated("Means of the boxes, compared with {before}", context="comparison_month"),
    "comparison_note": translated(
        "Boxes that measured at least 75% of both periods. Sound levels are averaged by energy; changes in "
        "decibels and degrees have no percentage."
    ),
    "comparison_none": translated("No box measured enough of both periods to compare them."),
    "metric": translated("Quantity"),
    "this_period": translated("This period"),
    "period_before": translated("Before"),
    "change": translated("Change"),
    # Boxes.
    "by_box": translated("Box by box"),
    "by_box_many": translated(
        "{boxes}. Those with the worst values come first; an asterisk marks the highest mean of a column."
    ),
    "box": translated("Box"),
    "mean": translated("Mean"),
    "minimum": translated("Lowest", context="minimum"),
    "maximum": translated("Highest", context="maximum"),
    "silent_box": translated("Measured nothing in this period."),
    "means_of": translated("Mean of the period, and the lowest and the highest value"),
    "between": translated("{low} to {high}"),
    # Alerts.
    "alerts": translated("Alerts"),
    "alerts_not_shown": translated("Left out: the requester of this report may not read alerts."),
    "alerts_none": translated("No alert began in this period."),
    "alerts_count": translated("Alerts that began, by severity"),
    "alerts_before": translated("In the period before: {count}."),
    "alerts_went_on": translated("Began earlier and were still firing at the start: {count}."),
    "alerts_firing": translated("Still firing when this report was generated: {count}."),
    "alerts_acknowledged": translated(
        "Acknowledged: {count}; half of them within {half}, the last one after {longest}."
    ),
    "alerts_unacknowledged": translated("None was acknowledged."),
    "alerts_longest": translated("Longest alerts"),
    "rule": translated("Rule"),
    "severity": translated("Severity"),
    "info": translated("Information"),
    "warning": translated("Warning"),
    "critical": translated("Critical"),
    "began": translated("Began"),
    "lasted": translated("Lasted"),
    "lasts": translated("{duration}, still firing"),
    "whole_site": translated("Whole site"),
    "total": translated("Total"),
    **DATA_WORDS,
}
"""All texts of a report, by key."""
