"""Holds the texts of the pages of the register, in English and French. Pure."""

from collections.abc import Mapping
from typing import Final

from app.presentation.translation import BilingualText, translated

WORDS: Final[Mapping[str, BilingualText]] = {
    # Every page.
    "register": translated("Public register of sensors"),
    "skip": translated("Skip to the content"),
    "menu": translated("Pages of the register"),
    "nav_map": translated("Map and list"),
    "nav_changes": translated("History"),
    "nav_about": translated("How to read it"),
    "nav_requests": translated("Exercise your rights"),
    "other_language": translated("Français"),
    "made_at": translated("Generated from the live configuration on {day} at {clock} (UTC)."),
    "data_as": translated("The same as data:"),
    "feed": translated("Feed of changes (Atom)"),
    "not_given": translated("not yet given by the operator"),
    "none": translated("none"),
    "yes": translated("yes"),
    "no": translated("no"),
    # Map and list.
    "lead": translated(
        "Each measuring site: its place, purposes, legal bases, storage periods and operator."
    ),
    "sites": translated("Sites"),
    "boxes": translated("Boxes"),
    "operators": translated("Operators"),
    "sensitive_sites": translated("Sites with a sensitive purpose"),
    "search": translated("Search"),
    "search_hint": translated("Name, address, or 43.6, 1.44"),
    "near_me": translated("Near me"),
    "near_me_said": translated(
        "“Near me” asks your browser for your position, and sends it rounded to 0.01°, about 1 km."
    ),
    "near_me_refused": translated("Your browser gives no position. Enter coordinates or an address instead."),
    "undeclared": translated("not declared yet by the operator"),
    "undeclared_only": translated("Nothing declared yet"),
    "place_asked": translated("The place that you searched for"),
    "away": translated("about {distance} away"),
    "found_near": translated("{count} within {far} of this place"),
    "found_far": translated("No site within {far}; the nearest are shown ({count})"),
    "purpose": translated("Purpose", context="page_texts"),
    "any_purpose": translated("Any purpose"),
    "apply": translated("Show", context="public_register"),
    "clear": translated("Show all"),
    "map": translated("Map of the sites"),
    "map_said": translated(
        "The list below has the same content as this map. With a keyboard: arrow keys move the map, + and "
        "\u2212 zoom."
    ),
    "map_without_script": translated("The map needs JavaScript; the list below has the same content."),
    "map_key_site": translated("Site (the number shows how many boxes it has)"),
    "map_key_sensitive": translated("Site with a sensitive purpose"),
    "map_key_box": translated("Boxes (visible when you zoom in)"),
    "map_key_cell": translated("Locations are shown to the nearest grid cell."),
    "list": translated("List of the sites"),
    "found_one": translated("{} site"),
    "found_many": translated("{} sites"),
    "nothing_found": translated("No site matches. Try fewer words, or another purpose."),
    "no_sites": translated("No boxes are registered here yet."),
    "box_one": translated("{} box"),
    "box_many": translated("{} boxes"),
    "sent_one": translated("{} sent in the last day", context="one box"),
    "sent_many": translated("{} sent in the last day", context="boxes"),
    "copy_link": translated("Copy the link"),
    "link_copied": translated("The link is copied."),
    "operated_by": translated("operated by {name}"),
    "refused_here": translated("Rejected on receipt, from no known site"),
    "page_of": translated("Sites {first} to {last} of {total}"),
    "next_page": translated("Next sites"),
    "earlier_page": translated("Earlier sites"),
    # What was measured last.
    "now": translated("Now, and the last 24 hours"),
    "now_said": translated(
        "Published by the operator: means over the boxes of the site, updated every minute. Doubtful values "
        "are left out. The other values have not been checked by a person."
    ),
    "now_none": translated("There are no measurements of the published quantities in the last 24 hours."),
    "newest_at": translated("on {day} at {clock}"),
    "newest_of": translated(", mean of {count} boxes"),
    "all_doubtful": translated("no reliable value"),
    "coverage": translated("Measured: {share} of the 24 hours"),
    "left_out_one": translated("{} doubtful value left out"),
    "left_out_many": translated("{} doubtful values left out"),
    "index_of": translated("{title}, {start} to {end}, measured: {share} of the hour"),
    "index_without": translated("{title}, {start} to {end}: {reason}"),
    "of_a_day": translated("Last 24 hours"),
    "of_a_day_json": translated("last 24 hours (JSON)"),
    "of_a_day_csv": translated("last 24 hours (CSV)"),
    "licence": translated("Licence of the open data"),
    "licence_none": translated(
        "The operator names no licence for these data: ask the contact before you reuse them."
    ),
    # A site.
    "undeclared_title": translated("Not declared yet by the operator"),
    "undeclared_said": translated(
        "The operator has not yet declared the purposes of this site, nor their legal bases. None of its "
        "measurements is published. The information below comes from the program itself."
    ),
    "defaults": translated("Not declared yet"),
    "defaults_said": translated(
        "Boxes may send values for these purposes by default. The operator has not declared them: no legal "
        "basis is claimed, and nothing is published."
    ),
    "default_measured": translated("{title}. Measured here within 30 days: {names}"),
    "default_unmeasured": translated("Nothing measured within 30 days: {titles}"),
    "address": translated("Address"),
    "same_for_all": translated("For all declared purposes"),
    "same_for_one": translated("For this purpose"),
    "what_differs": translated("Differences between purposes"),
    "about_what": translated("Subject"),
    "for_purpose": translated("Purpose", context="page_texts"),
    "answer": translated("Answer"),
    "week_and_year": translated("7 days and 365 days"),
    "in_short": translated("In short", context="public_register"),
    "what": translated("What"),
    "where": translated("Where"),
    "why": translated("Why"),
    "by_what_right": translated("Legal basis"),
    "how_long": translated("How long"),
    "who": translated("Who"),
    "where_address": translated("{address}; shown {place}"),
    "where_said": translated("within {size} of latitude {latitude}, longitude {longitude}"),
    "precision": translated("Precision of the locations"),
    "precision_said": translated("cells of {size}, the middle of which is shown; set by the operator"),
    "operator": translated("Operator"),
    "kind": translated("Kind of place"),
    "since": translated("In service since"),
    "purposes": translated("Purposes and legal bases"),
    "measures": translated("Measures"),
    "recognises": translated("May recognise"),
    "measured_now": translated("measured here within 30 days"),
    "none_measured_now": translated("No measurements within 30 days. May be measured: {names}."),
    "not_measured_now": translated("May also be measured, but was not within 30 days"),
    "description": translated("Why"),
    "legal_basis": translated("Legal basis"),
    "legal_reference": translated("Reference text"),
    "controller": translated("Controller"),
    "controller_default": translated("{name} (the operator)"),
    "contact": translated("Contact"),
    "retention": translated("Storage period"),
    "duration": translated("Period"),
    "impact_assessment": translated("Impact assessment"),
    "notice": translated("Notice to the public"),
    "approval": translated("Approved by a second person"),
    "approval_not_needed": translated("not required for this purpose"),
    "approval_missing": translated("not approved: no data are accepted"),
    "open_data": translated("Figures published"),
    "open_yes": translated("yes, see the charts below"),
    "open_none_yet": translated("yes; there are none for the last 365 days yet"),
    "open_no": translated("no"),
    "open_never": translated("no: a sensitive purpose is never published"),
    "sensitive": translated("sensitive"),
    "never": translated("What is never collected"),
    "never_said": translated(
        "Sound recordings, voices, images, video, faces, number plates and identifiers of persons are "
        "rejected on receipt and stored nowhere."
    ),
    "places": translated("Where the boxes are"),
    "box": translated("Box"),
    "box_said": translated(
        "Each box has a public number of its own; the name under which it sends stays secret."
    ),
    "latitude": translated("Latitude"),
    "longitude": translated("Longitude"),
    "at_the_site": translated("at the place of the site"),
    "more_boxes": translated("{count} more are in the data (GeoJSON)."),
    "recipients": translated("Who receives alerts"),
    "recipients_none": translated("No recipient of alerts is configured for this site."),
    "shared": translated("Who else may read these data"),
    "shared_none": translated("The operator has granted no third party access to data of this site."),
    "shared_said": translated("Reports by mail and automatic transfers of measurements are not listed here."),
    "shared_one": translated("Data of this site are shared with {} third party, for this purpose:"),
    "shared_many": translated("Data of this site are shared with {} third parties, for these purposes:"),
    "shared_unnamed": translated("a third party not named by the operator"),
    "shared_until": translated("until {day}"),
    "unnamed": translated("a recipient not named by the operator"),
    "by_webhook": translated("by automatic transfer"),
    "by_email": translated("by e-mail"),
    "by_mqtt": translated("by automatic transfer (MQTT)"),
    "activity": translated("Activity"),
    "alerts": translated("Alerts"),
    "severity": translated("Severity"),
    "month": translated("30 days"),
    "year": translated("365 days"),
    "alerts_none": translated("No alert within 365 days."),
    "incidents": translated("Acoustic incidents"),
    "incidents_off": translated("No acoustic incidents are recognised here."),
    "incidents_said": translated(
        "{month} within 30 days, {year} within 365 days; of these, people confirmed {confirmed} and "
        "dismissed {dismissed}."
    ),
    "precision_published": translated("Rate of confirmed incidents"),
    "precision_is": translated(
        "{share}; reviewed incidents: {reviewed} (95% confidence interval: {low} to {high})"
    ),
    "precision_unknown": translated("unknown: no incident was reviewed yet"),
    "false_alarms": translated("False alarms"),
    "false_alarms_are": translated("{rate} a year"),
    "false_alarms_unknown": translated("not known as a rate: observed for less than {days} days"),
    "refusals": translated("Rejected on receipt"),
    "refusals_said": translated(
        "Messages without a purpose in force, or with forbidden content. They are counted, and stored "
        "nowhere."
    ),
    "refusals_none": translated("Nothing was rejected within 365 days."),
    "reason": translated("Reason"),
    "charts": translated("Open data"),
    "charts_said": translated(
        "Means over all boxes of the site, as measured; sound levels are averaged by energy."
    ),
    "charts_none": translated("No figures of this site are published."),
    "charts_none_yet": translated(
        "There are no figures for the last 365 days yet. The mean of an hour appears once the hour is over."
    ),
    "week": translated("Last 7 days, hour by hour"),
    "of_a_year": translated("Last 365 days, day by day"),
    "numbers": translated("Numbers"),
    "when": translated("When"),
    "mean": translated("Mean"),
    "chart_summary": translated("{title}: between {low} and {high}; the last one {last}."),
    "days_of_numbers": translated("Daily means of the hours"),
    "dtpr": translated("DTPR description"),
    "dtpr_said": translated(
        "Digital Trust for Places and Routines is an open standard that describes technology in public "
        "places."
    ),
    "changes": translated("Last changes"),
    "all_changes": translated("All changes of this site"),
    "changes_lead": translated(
        "Every change of the register's content. The database records it with the change itself."
    ),
    "changes_none": translated("Nothing has changed yet."),
    "older": translated("Older changes"),
    "back": translated("Back to the map and the list"),
    "missing_title": translated("This site is not in the register"),
    "missing_said": translated("It may have been removed:"),
    "missing_history": translated("see the history"),
    "rights_here": translated("Ask what data about this place are stored, object, or ask a question"),
    "of_which": translated("{titles}: {value}"),
    "history_of": translated("History: {name}"),
    # How to read it.
    "about_lead": translated(
        "This register is generated automatically. It shows the current configuration of the boxes of this "
        "installation."
    ),
}
"""Texts by key. Placeholders such as `{name}` are filled in by the caller."""
