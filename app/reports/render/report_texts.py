"""Holds the texts of reports in English and French; callers fill in the braces.

Titles of methods, classes and metrics are defined in `app.indicators` and the catalogue.
`number_formats.typeset_text` applies French typography.
"""

from collections.abc import Mapping
from typing import Final

from app.indicators.index_results import BilingualText
from app.reports.render.data_texts import CITATIONS_FR, COVERAGES_FR, DATA_WORDS, SITE_KINDS

__all__ = ["CITATIONS_FR", "COVERAGES_FR", "SITE_KINDS", "WORDS"]

WORDS: Final[Mapping[str, BilingualText]] = {
    # The head.
    "report_day": BilingualText("Daily report", "Rapport journalier"),
    "report_month": BilingualText("Monthly report", "Rapport mensuel"),
    "client": BilingualText("Client", "Client"),
    "place": BilingualText("Kind of place", "Type de lieu"),
    "time_zone": BilingualText("Time zone", "Fuseau horaire"),
    "period": BilingualText("Period", "Période"),
    "from_to": BilingualText(
        "{first}, {first_at} to {last}, {last_at}",
        "du {first}, {first_at} au {last}, {last_at}",
    ),
    "hours_of_day": BilingualText(
        "a day of {hours} hours (clocks changed)",
        "jour de {hours} heures (changement d'heure)",
    ),
    "made": BilingualText("Generated", "Établi"),
    "made_at": BilingualText("{day}, {clock}", "{day}, {clock}"),
    "boxes": BilingualText("Boxes", "Boîtiers"),
    "of": BilingualText("of", "sur"),
    "colon": BilingualText(": ", " : "),
    "comma": BilingualText(", ", ", "),
    # Counts.
    "box_one": BilingualText("{} box", "{} boîtier"),
    "box_many": BilingualText("{} boxes", "{} boîtiers"),
    "alert_one": BilingualText("{} alert", "{} alerte"),
    "alert_many": BilingualText("{} alerts", "{} alertes"),
    "day_one": BilingualText("{} day", "{} jour"),
    "day_many": BilingualText("{} days", "{} jours"),
    # Tiles.
    "tile_co2": BilingualText("Highest CO₂, hourly mean", "CO₂ le plus élevé, moyenne horaire"),
    "tile_who": BilingualText("WHO guidelines exceeded", "Lignes directrices OMS dépassées"),
    "tile_noise_day": BilingualText("Loudest Lden", "Lden le plus fort"),
    "tile_noise_month": BilingualText("Loudest daily Lden", "Lden journalier le plus fort"),
    "tile_leq": BilingualText("Loudest mean level", "Niveau moyen le plus fort"),
    "tile_alerts": BilingualText("Alerts", "Alertes"),
    "tile_coverage": BilingualText("Measured", "Mesuré"),
    "of_pollutants": BilingualText("of {count} pollutants measured", "sur {count} polluants mesurés"),
    "critical_one": BilingualText("{} of them critical", "dont {} critique"),
    "critical_many": BilingualText("{} of them critical", "dont {} critiques"),
    "of_the_period": BilingualText("of the expected values", "des valeurs attendues"),
    "not_shown": BilingualText("not shown", "non montrées"),
    # In short.
    "in_short": BilingualText("In short", "L'essentiel"),
    "short_coverage": BilingualText(
        "{boxes} measured {coverage} of the expected values{silent}.",
        "{boxes} : {coverage} des mesures attendues ont été reçues{silent}.",
    ),
    "short_silent_one": BilingualText("; one was silent throughout", " ; un est resté muet tout du long"),
    "short_silent_many": BilingualText(
        "; {count} were silent throughout",
        " ; {count} sont restés muets tout du long",
    ),
    "short_no_boxes": BilingualText(
        "There are no boxes at this site: nothing was measured, and the period cannot be assessed.",
        "Ce site n'a aucun boîtier : rien n'a été mesuré, et la période ne peut pas être évaluée.",
    ),
    "short_no_data": BilingualText(
        "None of the site's boxes ({boxes}) measured anything in this period, which cannot be assessed.",
        "Aucun boîtier du site ({boxes}) n'a mesuré quoi que ce soit sur la période, qui ne peut pas être "
        "évaluée.",
    ),
    "short_index": BilingualText(
        "{title}: at worst “{band}”, at {box} ({when}).",
        "{title} : au pire « {band} », au boîtier {box} ({when}).",
    ),
    "short_who_none": BilingualText(
        "None of the daily WHO guidelines for {metrics} was exceeded.",
        "Aucune ligne directrice journalière de l'OMS n'a été dépassée, parmi celles sur {metrics}.",
    ),
    "short_who": BilingualText(
        "The WHO guideline was exceeded for {parts}.",
        "La ligne directrice de l'OMS a été dépassée pour {parts}.",
    ),
    "who_percentile": BilingualText(
        "The guideline refers to the 99th percentile of the days of a year: 3 to 4 days a year may exceed "
        "the value, so one such day is no breach of the guideline.",
        "La ligne directrice porte sur le 99e centile des jours d'une année : 3 à 4 jours par an peuvent "
        "être au-dessus, et un seul jour ne suffit donc pas à l'enfreindre.",
    ),
    "short_who_part": BilingualText(
        "{metric} ({value}, {ratio} the guideline of {limit}, at {box})",
        "{metric} ({value}, soit {ratio} la valeur de {limit}, au boîtier {box})",
    ),
    "short_who_part_days": BilingualText(
        "{metric} (on {days} at {box}; at most {ratio} the guideline of {limit})",
        "{metric} (pendant {days} au boîtier {box} ; au plus {ratio} la valeur de {limit})",
    ),
    "short_lden": BilingualText(
        "The loudest place was {box}: Lden {value}{night}, {when}.",
        "L'endroit le plus bruyant était celui du boîtier {box} : Lden de {value}{night}, {when}.",
    ),
    "short_night": BilingualText(", night {value}", ", nuit {value}"),
    "short_leq": BilingualText(
        "The loudest place was {box}, with a mean level of {value}.",
        "L'endroit le plus bruyant était celui du boîtier {box}, avec un niveau moyen de {value}.",
    ),
    "short_co2": BilingualText(
        "CO₂ was highest at {box}: {value} over an hour (“{band}”).",
        "Le CO₂ est monté le plus haut au boîtier {box} : {value} sur une heure (« {band} »).",
    ),
    "short_alerts_none": BilingualText("No alert began.", "Aucune alerte n'a commencé."),
    "short_alerts": BilingualText(
        "{alerts} began{critical}; the longest lasted {longest}.",
        "{alerts} ont commencé{critical} ; la plus longue a duré {longest}.",
    ),
    "short_alert": BilingualText(
        "{alerts} began{critical}; it lasted {longest}.",
        "{alerts} a commencé{critical} ; elle a duré {longest}.",
    ),
    "short_critical": BilingualText(", {critical}", ", {critical}"),
    "short_compared": BilingualText("Compared with {before}: {parts}.", "Par rapport {before} : {parts}."),
    "against_day": BilingualText("the day before", "à la veille"),
    "against_month": BilingualText("the month before", "au mois précédent"),
    # The strip.
    "strip_day": BilingualText("Hour by hour: {title}", "Heure par heure : {title}"),
    "strip_month": BilingualText("Day by day: {title}", "Jour par jour : {title}"),
    "strip_worst_hour": BilingualText("worst hour of each day", "pire heure de chaque jour"),
    "site_worst": BilingualText("Whole site (worst)", "Site entier (pire)"),
    "no_value": BilingualText("No value", "Pas de valeur"),
    "strip_said": BilingualText(
        "Classes of the site's worst box: {classes}.",
        "Classes du pire boîtier du site : {classes}.",
    ),
    "class_times": BilingualText("{band}: {count}", "{band} : {count}"),
    "strip_more": BilingualText(
        "The {count} boxes with the worst values are shown; {more} others are included in the first row.",
        "Sont montrés les {count} boîtiers aux pires valeurs ; {more} autres comptent dans la première "
        "ligne.",
    ),
    # Indices.
    "indices": BilingualText("Indices and guidelines", "Indices et valeurs de référence"),
    "indices_intro": BilingualText(
        "The box with the worst value for each figure. As in air quality indices, its value is that of the "
        "site.",
        "Pour chaque grandeur, le boîtier à la pire valeur. Comme dans les indices de la qualité de l'air, "
        "c'est la valeur du site.",
    ),
    "figure": BilingualText("Figure", "Grandeur"),
    "worst_value": BilingualText("Worst value", "Pire valeur"),
    "where": BilingualText("Where", "Où"),
    "when": BilingualText("When", "Quand"),
    "class": BilingualText("Class", "Classe"),
    "compared_with": BilingualText("Compared with", "Référence"),
    "measured_share": BilingualText("Measured", "Mesuré"),
    "exceeded": BilingualText("exceeded", "dépassée"),
    "respected": BilingualText("met", "respectée"),
    "reached": BilingualText("reached", "atteint"),
    "not_reached": BilingualText("not reached", "non atteint"),
    "days_over": BilingualText("Days over", "Jours au-dessus"),
    "days_over_cell": BilingualText("{over} of {total}", "{over} sur {total}"),
    "boxes_without": BilingualText(
        "{count} of {total} boxes without a value",
        "{count} boîtiers sur {total} sans valeur",
    ),
    "no_indices": BilingualText(
        "No figure could be computed from the measurements.",
        "Aucune grandeur n'a pu être calculée à partir de ce qui a été mesuré ici.",
    ),
    "unfinished": BilingualText(
        "Not available yet: {titles}. A noise day ends the next morning.",
        "Pas encore disponible : {titles}. Une journée de bruit finit le lendemain matin.",
    ),
    "odours_left_out": BilingualText(
        "Left out: odour figures, because they would have required too many samples.",
        "Omis : les grandeurs d'odeur, pour lesquelles il aurait fallu lire trop d'échantillons.",
    ),
    "count": BilingualText("Count", "Nombre"),
    # Charts.
    "air": BilingualText("Air", "Air"),
    "noise": BilingualText("Noise", "Bruit"),
    "rooms": BilingualText("Rooms: comfort and air", "Intérieur : confort et air"),
    "hourly_means": BilingualText("{metric}, hourly means", "{metric}, moyennes horaires"),
    "daily_means": BilingualText("{metric}, daily means", "{metric}, moyennes journalières"),
    "daily_o3": BilingualText(
        "{metric}, highest 8-hour mean of each day",
        "{metric}, moyenne maximale sur 8 heures de chaque jour",
    ),
    "daily_co2": BilingualText(
        "{metric}, highest hourly mean of each day", "{metric}, moyenne horaire maximale de chaque jour"
    ),
    "limit_24h": BilingualText("WHO, 24 h", "OMS, 24 h"),
    "limit_8h": BilingualText("WHO, 8 h", "OMS, 8 h"),
    "limit_co2_low": BilingualText("to be improved above", "à améliorer au-dessus"),
    "limit_co2_high": BilingualText("insufficient above", "insuffisant au-dessus"),
    "hourly_noise": BilingualText(
        "Sound level, hourly energy means",
        "Niveau sonore, moyennes énergétiques horaires",
    ),
    "daily_lden": BilingualText(
        "Day-evening-night level (Lden) of each day",
        "Niveau jour-soir-nuit (Lden) de chaque jour",
    ),
    "daily_lnight": BilingualText("Night level of each day", "Niveau de nuit de chaque jour"),
    "lday": BilingualText("Day", "Jour"),
    "levening": BilingualText("Evening", "Soirée"),
    "lnight": BilingualText("Night", "Nuit"),
    "lden": BilingualText("Lden", "Lden"),
    "leq": BilingualText("Mean level", "Niveau moyen"),
    "noise_table_day": BilingualText(
        "Levels of the parts of the day, dB", "Niveaux des parties de la journée, dB"
    ),
    "noise_table_month": BilingualText(
        "Levels of the loudest day of each box, dB",
        "Niveaux de la journée la plus bruyante de chaque boîtier, dB",
    ),
    "noise_parts": BilingualText(
        "Day {day}, evening {evening}, night {night}. Lden adds 5 dB to evenings and 10 dB to nights.",
        "Jour {day}, soirée {evening}, nuit {night} ; dans Lden, la soirée pèse 5 dB de plus, la nuit 10 "
        "dB de plus.",
    ),
    "from_until": BilingualText("{first} to {last} h", "de {first} à {last} h"),
    "range_of_boxes": BilingualText(
        "Lowest to highest of {count} boxes",
        "Du plus bas au plus haut de {count} boîtiers",
    ),
    "median_of_boxes": BilingualText("Median of the boxes", "Médiane des boîtiers"),
    "lowest": BilingualText("Lowest", "Plus bas"),
    "median": BilingualText("Median", "Médiane"),
    "highest": BilingualText("Highest", "Plus haut"),
    "hour": BilingualText("Hour", "Heure"),
    "day": BilingualText("Day", "Jour"),
    "chart_numbers": BilingualText("Values of this chart", "Les chiffres de ce graphique"),
    "chart_said": BilingualText(
        "{title}, {boxes}: lowest {low} ({low_box}, {low_at}), highest {high} ({high_box}, {high_at}).",
        "{title}, {boxes} : minimum {low} ({low_box}, {low_at}), maximum {high} ({high_box}, {high_at}).",
    ),
    "chart_key": BilingualText("Key", "Légende"),
    # The period before.
    "comparison": BilingualText("The period before", "La période précédente"),
    "comparison_day": BilingualText(
        "Means of the boxes, compared with {before}",
        "Moyennes des boîtiers, comparées au {before}",
    ),
    "comparison_month": BilingualText(
        "Means of the boxes, compared with {before}",
        "Moyennes des boîtiers, comparées à {before}",
    ),
    "comparison_note": BilingualText(
        "Boxes that measured at least 75 % of both periods. Sound levels are averaged by energy; changes in "
        "decibels and degrees have no percentage.",
        "Boîtiers ayant mesuré au moins 75 % des deux périodes. Les niveaux sonores sont moyennés en "
        "énergie ; décibels et degrés n'ont pas de pourcentage.",
    ),
    "comparison_none": BilingualText(
        "No box measured enough of both periods to compare them.",
        "Aucun boîtier n'a assez mesuré sur les deux périodes pour les comparer.",
    ),
    "metric": BilingualText("Quantity", "Grandeur mesurée"),
    "this_period": BilingualText("This period", "Cette période"),
    "period_before": BilingualText("Before", "Avant"),
    "change": BilingualText("Change", "Évolution"),
    # Boxes.
    "by_box": BilingualText("Box by box", "Boîtier par boîtier"),
    "by_box_many": BilingualText(
        "{boxes}. Those with the worst values come first; an asterisk marks the highest mean of a column.",
        "{boxes}. Ceux aux pires valeurs viennent d'abord ; un astérisque marque la moyenne la plus "
        "élevée d'une colonne.",
    ),
    "box": BilingualText("Box", "Boîtier"),
    "mean": BilingualText("Mean", "Moyenne"),
    "minimum": BilingualText("Lowest", "Minimum"),
    "maximum": BilingualText("Highest", "Maximum"),
    "silent_box": BilingualText("Measured nothing in this period.", "N'a rien mesuré sur la période."),
    "means_of": BilingualText(
        "Mean of the period, and the lowest and the highest value",
        "Moyenne de la période, et valeurs minimale et maximale",
    ),
    "between": BilingualText("{low} to {high}", "{low} à {high}"),
    # Alerts.
    "alerts": BilingualText("Alerts", "Alertes"),
    "alerts_not_shown": BilingualText(
        "Left out: the requester of this report may not read alerts.",
        "Omis : le demandeur de ce rapport ne peut pas lire les alertes.",
    ),
    "alerts_none": BilingualText(
        "No alert began in this period.", "Aucune alerte n'a commencé sur la période."
    ),
    "alerts_count": BilingualText("Alerts that began, by severity", "Alertes ayant commencé, par gravité"),
    "alerts_before": BilingualText("In the period before: {count}.", "Sur la période précédente : {count}."),
    "alerts_went_on": BilingualText(
        "Began earlier and were still firing at the start: {count}.",
        "Commencées avant et encore en cours au début : {count}.",
    ),
    "alerts_firing": BilingualText(
        "Still firing when this report was generated: {count}.",
        "Encore en cours à l'établissement du rapport : {count}.",
    ),
    "alerts_acknowledged": BilingualText(
        "Acknowledged: {count}; half of them within {half}, the last one after {longest}.",
        "Quelqu'un a pris en charge {count} d'entre elles : la moitié en {half} au plus, la dernière "
        "après {longest}.",
    ),
    "alerts_unacknowledged": BilingualText("None was acknowledged.", "Aucune n'a été prise en charge."),
    "alerts_longest": BilingualText("Longest alerts", "Celles qui ont duré le plus longtemps"),
    "rule": BilingualText("Rule", "Règle"),
    "severity": BilingualText("Severity", "Gravité"),
    "info": BilingualText("Information", "Information"),
    "warning": BilingualText("Warning", "Avertissement"),
    "critical": BilingualText("Critical", "Critique"),
    "began": BilingualText("Began", "Début"),
    "lasted": BilingualText("Lasted", "Durée"),
    "lasts": BilingualText("{duration}, still firing", "{duration}, en cours"),
    "whole_site": BilingualText("Whole site", "Site entier"),
    "total": BilingualText("Total", "Total"),
    **DATA_WORDS,
}
"""All texts of a report, by key."""
