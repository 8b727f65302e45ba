"""Holds the texts of the page "How to read it", in English and French. Pure."""

from typing import Final

from app.presentation.translation import BilingualText, translated

ABOUT: Final[tuple[tuple[BilingualText, tuple[BilingualText, ...]], ...]] = (
    (
        translated("Content"),
        (
            translated(
                "The register shows every site with at least one box, and no operator can hide one. An "
                "operator chooses only the precision of the locations."
            ),
            translated(
                "A location is shown as the middle of its grid cell, which is 1 m to 10 km wide. The cell "
                "is always the same: a long observation of the register does not reveal the exact place."
            ),
            translated(
                "Sites may measure the air, noise and the like before their operator has declared anything. "
                "The register then says so: it claims no legal basis in the operator's name, and publishes "
                "no measurements."
            ),
            translated(
                "A statement that the operator has not made is marked as missing. For sensitive purposes "
                "nothing may be missing: without every statement, and the approval of a second person, no "
                "data are accepted."
            ),
        ),
    ),
    (
        translated("Purposes and legal bases"),
        (
            translated(
                "Each measured quantity and each type of event belongs to one purpose. Data without a "
                "purpose that is declared and in force are rejected on receipt; the register shows how "
                "often."
            ),
            translated(
                "The legal basis is the operator's own statement. The register explains the meaning of each; "
                "it does not judge whether it is the right one."
            ),
        ),
    ),
    (
        translated("Figures"),
        (
            translated(
                "Charts show means over all boxes of a site, only for purposes with published figures. The "
                "operator decides on publication. "
                "The means are raw: neither corrected nor checked by a person. The current day is "
                "incomplete. The newest values and the last 24 hours leave out doubtful values: those that "
                "are implausible, alone or compared with their neighbours."
            ),
            translated(
                "The rate of confirmed incidents is the share of real incidents among the acoustic incidents "
                "that people reviewed. False alarms are the incidents that they dismissed."
            ),
        ),
    ),
    (
        translated("Using the data"),
        (
            translated(
                "The operator chooses the licence for reuse of open data. If there is one, the page of the "
                "site and the data name it; if there is none, ask the contact of the purpose. Cite the "
                "operator and the date."
            ),
            translated(
                "DTPR elements: Helpful Places, CC BY 4.0. Outlines of land: Natural Earth, public "
                "domain. Map "
                "libraries: Leaflet, BSD 2-Clause, and protomaps-leaflet, BSD 3-Clause. These pages load "
                "nothing from other hosts, unless the operator has configured one for the map background."
            ),
        ),
    ),
    (
        translated("Your rights"),
        (
            translated(
                "You may ask whether data here concern you, access them, and object to their processing."
            ),
        ),
    ),
)
"""Headings with their paragraphs, in the order of the page."""
