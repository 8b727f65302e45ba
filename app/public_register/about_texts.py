"""Holds the texts of the page "How to read it", in English and French. Pure."""

from typing import Final

from app.indicators.index_results import BilingualText

ABOUT: Final[tuple[tuple[BilingualText, tuple[BilingualText, ...]], ...]] = (
    (
        BilingualText("Content", "Contenu"),
        (
            BilingualText(
                "The register shows every site with at least one box, and no operator can hide one. An "
                "operator chooses only the precision of the locations.",
                "Tout site comptant au moins un boîtier y figure, et aucun exploitant ne peut en cacher un. "
                "L'exploitant ne choisit que la précision des emplacements.",
            ),
            BilingualText(
                "A location is shown as the middle of its grid cell, which is 1 m to 10 km wide. The cell "
                "is always the same: a long observation of the register does not reveal the exact place.",
                "Un emplacement est indiqué par le centre de la maille où il se trouve, large de 1 m à "
                "10 km. La maille est toujours la même : observer longtemps le registre ne révèle pas "
                "l'endroit exact.",
            ),
            BilingualText(
                "Sites may measure the air, noise and the like before their operator has declared anything. "
                "The register then says so: it claims no legal basis in the operator's name, and publishes "
                "no measurements.",
                "Un site peut mesurer l'air, le bruit ou d'autres grandeurs environnementales avant que son "
                "exploitant ait fait la moindre déclaration. Le registre le dit alors : il n'invoque aucune "
                "base légale au nom de l'exploitant et ne publie aucune mesure.",
            ),
            BilingualText(
                "A statement that the operator has not made is marked as missing. For sensitive purposes "
                "nothing may be missing: without every statement, and the approval of a second person, no "
                "data are accepted.",
                "Ce que l'exploitant n'a pas indiqué est signalé comme manquant. Pour une finalité "
                "sensible, rien ne peut manquer : sans toutes les mentions et l'approbation d'une seconde "
                "personne, aucune donnée n'est acceptée.",
            ),
        ),
    ),
    (
        BilingualText("Purposes and legal bases", "Finalités et bases légales"),
        (
            BilingualText(
                "Each measured quantity and each type of event belongs to one purpose. Data without a "
                "purpose that is declared and in force are rejected on receipt; the register shows how "
                "often.",
                "Chaque grandeur et chaque type d'événement relève d'une finalité. Les données sans finalité "
                "déclarée et en vigueur sont rejetées à la réception ; le registre indique combien de fois.",
            ),
            BilingualText(
                "The legal basis is the operator's own statement. The register explains the meaning of each; "
                "it does not judge whether it is the right one.",
                "La base légale est déclarée par l'exploitant. Le registre explique ce qu'elle signifie "
                "; il ne juge "
                "pas si elle est fondée.",
            ),
        ),
    ),
    (
        BilingualText("Figures", "Chiffres"),
        (
            BilingualText(
                "Charts show means over all boxes of a site, only for purposes with published figures. The "
                "operator decides on publication. "
                "The means are raw: neither corrected nor checked by a person. The current day is "
                "incomplete. The newest values and the last 24 hours leave out doubtful values: those that "
                "are implausible, alone or compared with their neighbours.",
                "Les graphiques montrent des moyennes sur tous les boîtiers d'un site, uniquement pour "
                "les finalités "
                "dont l'exploitant a décidé de publier les données. Elles sont brutes : ni corrigées ni "
                "vérifiées par une personne. Le jour en cours est incomplet. Parmi les valeurs les plus "
                "récentes et celles des dernières 24 heures, celles qui sont douteuses en elles-mêmes ou au "
                "regard de leurs voisines sont écartées.",
            ),
            BilingualText(
                "The rate of confirmed incidents is the share of real incidents among the acoustic incidents "
                "that people reviewed. False alarms are the incidents that they dismissed.",
                "Le taux d'incidents confirmés est la part des incidents réels parmi les incidents "
                "acoustiques que des personnes ont examinés. Une fausse alerte est un incident qu'elles ont "
                "écarté.",
            ),
        ),
    ),
    (
        BilingualText("Using the data", "Réutiliser les données"),
        (
            BilingualText(
                "The operator chooses the licence for reuse of open data. If there is one, the page of the "
                "site and the data name it; if there is none, ask the contact of the purpose. Cite the "
                "operator and the date.",
                "L'exploitant choisit la licence de réutilisation des données ouvertes. S'il en a indiqué "
                "une, la page du site et les données la mentionnent ; sinon, "
                "demandez-la au contact de la finalité. Citez l'exploitant et la date.",
            ),
            BilingualText(
                "DTPR elements: Helpful Places, CC BY 4.0. Outlines of land: Natural Earth, public "
                "domain. Map "
                "libraries: Leaflet, BSD 2-Clause, and protomaps-leaflet, BSD 3-Clause. These pages load "
                "nothing from other hosts, unless the operator has configured one for the map background.",
                "Éléments DTPR : Helpful Places, CC BY 4.0. Contours des terres : Natural Earth, domaine "
                "public. "
                "Bibliothèques de carte : Leaflet, BSD 2 clauses, et protomaps-leaflet, BSD 3 clauses. Ces "
                "pages ne demandent rien à un autre serveur, sauf si l'exploitant en a désigné un pour le "
                "fond de "
                "carte.",
            ),
        ),
    ),
    (
        BilingualText("Your rights", "Vos droits"),
        (
            BilingualText(
                "You may ask whether data here concern you, access them, and object to their processing.",
                "Vous pouvez demander si des données vous concernent, y accéder et vous opposer à leur "
                "traitement.",
            ),
        ),
    ),
)
"""Headings with their paragraphs, in the order of the page."""
