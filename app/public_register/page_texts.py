"""Holds the texts of the pages of the register, in English and French. Pure."""

from collections.abc import Mapping
from typing import Final

from app.indicators.index_results import BilingualText

WORDS: Final[Mapping[str, BilingualText]] = {
    # Every page.
    "register": BilingualText("Public register of sensors", "Registre public des capteurs"),
    "skip": BilingualText("Skip to the content", "Aller au contenu"),
    "menu": BilingualText("Pages of the register", "Pages du registre"),
    "nav_map": BilingualText("Map and list", "Carte et liste"),
    "nav_changes": BilingualText("History", "Historique"),
    "nav_about": BilingualText("How to read it", "Mode d'emploi"),
    "nav_requests": BilingualText("Exercise your rights", "Exercer vos droits"),
    "other_language": BilingualText("Français", "English"),
    "made_at": BilingualText(
        "Generated from the live configuration on {day} at {clock} (UTC).",
        "Établi d'après la configuration en vigueur le {day} à {clock} (UTC).",
    ),
    "data_as": BilingualText("The same as data:", "Les mêmes informations en données :"),
    "feed": BilingualText("Feed of changes (Atom)", "Flux des changements (Atom)"),
    "not_given": BilingualText("not yet given by the operator", "pas encore indiqué par l'exploitant"),
    "none": BilingualText("none", "aucun"),
    "yes": BilingualText("yes", "oui"),
    "no": BilingualText("no", "non"),
    # Map and list.
    "lead": BilingualText(
        "Each measuring site: its place, purposes, legal bases, storage periods and operator.",
        "Chaque site de mesure : son emplacement, ses finalités, ses bases légales, ses durées de "
        "conservation et son exploitant.",
    ),
    "sites": BilingualText("Sites", "Sites"),
    "boxes": BilingualText("Boxes", "Boîtiers"),
    "operators": BilingualText("Operators", "Exploitants"),
    "sensitive_sites": BilingualText("Sites with a sensitive purpose", "Sites à finalité sensible"),
    "search": BilingualText("Search", "Recherche"),
    "search_hint": BilingualText("Name, address, or 43.6, 1.44", "Nom, adresse ou 43,6 1,44"),
    "near_me": BilingualText("Near me", "Autour de moi"),
    "near_me_said": BilingualText(
        "“Near me” asks your browser for your position, and sends it rounded to 0.01°, about 1 km.",
        "« Autour de moi » demande votre position au navigateur et ne l'envoie qu'arrondie à 0,01°, "
        "soit environ 1 km.",
    ),
    "near_me_refused": BilingualText(
        "Your browser gives no position. Enter coordinates or an address instead.",
        "Votre navigateur ne donne pas de position. Saisissez plutôt des coordonnées ou une adresse.",
    ),
    "undeclared": BilingualText("not declared yet by the operator", "pas encore déclaré par l'exploitant"),
    "undeclared_only": BilingualText("Nothing declared yet", "Rien de déclaré à ce jour"),
    "place_asked": BilingualText("The place that you searched for", "Le lieu recherché"),
    "away": BilingualText("about {distance} away", "à environ {distance}"),
    "found_near": BilingualText(
        "{count} within {far} of this place",
        "{count} à moins de {far} de ce lieu",
    ),
    "found_far": BilingualText(
        "No site within {far}; the nearest are shown ({count})",
        "Aucun site à moins de {far} ; voici les plus proches ({count})",
    ),
    "purpose": BilingualText("Purpose", "Finalité"),
    "any_purpose": BilingualText("Any purpose", "Toutes les finalités"),
    "apply": BilingualText("Show", "Afficher"),
    "clear": BilingualText("Show all", "Tout afficher"),
    "map": BilingualText("Map of the sites", "Carte des sites"),
    "map_said": BilingualText(
        "The list below has the same content as this map. With a keyboard: arrow keys move the map, + and "
        "\u2212 zoom.",
        "La liste ci-dessous a le même contenu que cette carte. Au clavier : les flèches déplacent la carte, "
        "+ et \u2212 zooment.",
    ),
    "map_without_script": BilingualText(
        "The map needs JavaScript; the list below has the same content.",
        "La carte a besoin de JavaScript ; la liste ci-dessous a le même contenu.",
    ),
    "map_key_site": BilingualText(
        "Site (the number shows how many boxes it has)", "Site (le chiffre indique le nombre de boîtiers)"
    ),
    "map_key_sensitive": BilingualText("Site with a sensitive purpose", "Site à finalité sensible"),
    "map_key_box": BilingualText("Boxes (visible when you zoom in)", "Boîtiers (visibles en zoomant)"),
    "map_key_cell": BilingualText(
        "Locations are shown to the nearest grid cell.",
        "Les emplacements sont indiqués à la maille près.",
    ),
    "list": BilingualText("List of the sites", "Liste des sites"),
    "found_one": BilingualText("{} site", "{} site"),
    "found_many": BilingualText("{} sites", "{} sites"),
    "nothing_found": BilingualText(
        "No site matches. Try fewer words, or another purpose.",
        "Aucun site ne correspond. Essayez avec moins de mots, ou une autre finalité.",
    ),
    "no_sites": BilingualText(
        "No boxes are registered here yet.", "Aucun boîtier n'est encore enregistré ici."
    ),
    "box_one": BilingualText("{} box", "{} boîtier"),
    "box_many": BilingualText("{} boxes", "{} boîtiers"),
    "operated_by": BilingualText("operated by {name}", "exploitant : {name}"),
    "refused_here": BilingualText(
        "Rejected on receipt, from no known site", "Rejeté à la réception, sans site connu"
    ),
    "page_of": BilingualText("Sites {first} to {last} of {total}", "Sites {first} à {last} sur {total}"),
    "next_page": BilingualText("Next sites", "Sites suivants"),
    "earlier_page": BilingualText("Earlier sites", "Sites précédents"),
    # What was measured last.
    "now": BilingualText("Now, and the last 24 hours", "En ce moment, et les dernières 24 heures"),
    "now_said": BilingualText(
        "Published by the operator: means over the boxes of the site, updated every minute. Doubtful values "
        "are left out. The other values have not been checked by a person.",
        "Publié par l'exploitant ; moyennes des boîtiers du site, renouvelées chaque minute. Les valeurs "
        "douteuses sont écartées. Les autres n'ont été vérifiées par personne.",
    ),
    "now_none": BilingualText(
        "There are no measurements of the published quantities in the last 24 hours.",
        "Aucune mesure des grandeurs publiées au cours des dernières 24 heures.",
    ),
    "newest_at": BilingualText("on {day} at {clock}", "le {day} à {clock}"),
    "newest_of": BilingualText(", mean of {count} boxes", ", moyenne de {count} boîtiers"),
    "all_doubtful": BilingualText("no reliable value", "aucune valeur fiable"),
    "coverage": BilingualText("Measured: {share} of the 24 hours", "Mesuré : {share} des 24 heures"),
    "left_out_one": BilingualText("{} doubtful value left out", "{} valeur douteuse écartée"),
    "left_out_many": BilingualText("{} doubtful values left out", "{} valeurs douteuses écartées"),
    "index_of": BilingualText(
        "{title}, {start} to {end}, measured: {share} of the hour",
        "{title}, de {start} à {end}, mesuré : {share} de l'heure",
    ),
    "index_without": BilingualText(
        "{title}, {start} to {end}: {reason}", "{title}, de {start} à {end} : {reason}"
    ),
    "of_a_day": BilingualText("Last 24 hours", "Dernières 24 heures"),
    "of_a_day_json": BilingualText("last 24 hours (JSON)", "dernières 24 heures (JSON)"),
    "of_a_day_csv": BilingualText("last 24 hours (CSV)", "dernières 24 heures (CSV)"),
    "licence": BilingualText("Licence of the open data", "Licence des données ouvertes"),
    "licence_none": BilingualText(
        "The operator names no licence for these data: ask the contact before you reuse them.",
        "L'exploitant n'indique pas de licence pour ces données : adressez-vous au contact avant de les "
        "réutiliser.",
    ),
    # A site.
    "undeclared_title": BilingualText(
        "Not declared yet by the operator", "Pas encore déclaré par l'exploitant"
    ),
    "undeclared_said": BilingualText(
        "The operator has not yet declared the purposes of this site, nor their legal bases. None of its "
        "measurements is published. The information below comes from the program itself.",
        "L'exploitant n'a pas encore indiqué à quelles fins ce site mesure, ni à quel titre. Rien de ce "
        "qu'il mesure n'est publié. Les informations ci-dessous viennent du logiciel lui-même.",
    ),
    "defaults": BilingualText("Not declared yet", "Pas encore déclaré"),
    "defaults_said": BilingualText(
        "Boxes may send values for these purposes by default. The operator has not declared them: no legal "
        "basis is claimed, and nothing is published.",
        "Par défaut, les boîtiers peuvent envoyer des valeurs pour ces finalités. L'exploitant n'en a rien "
        "déclaré : aucune base légale n'est invoquée, et rien n'est publié.",
    ),
    "default_measured": BilingualText(
        "{title}. Measured here within 30 days: {names}", "{title}. Mesuré ici depuis 30 jours : {names}"
    ),
    "default_unmeasured": BilingualText(
        "Nothing measured within 30 days: {titles}", "Rien de mesuré depuis 30 jours : {titles}"
    ),
    "address": BilingualText("Address", "Adresse"),
    "same_for_all": BilingualText("For all declared purposes", "Pour toutes les finalités déclarées"),
    "same_for_one": BilingualText("For this purpose", "Pour cette finalité"),
    "what_differs": BilingualText("Differences between purposes", "Différences entre les finalités"),
    "about_what": BilingualText("Subject", "Sujet"),
    "for_purpose": BilingualText("Purpose", "Finalité"),
    "answer": BilingualText("Answer", "Réponse"),
    "week_and_year": BilingualText("7 days and 365 days", "7 jours et 365 jours"),
    "in_short": BilingualText("In short", "En bref"),
    "what": BilingualText("What", "Quoi"),
    "where": BilingualText("Where", "Où"),
    "why": BilingualText("Why", "Pourquoi"),
    "by_what_right": BilingualText("Legal basis", "Base légale"),
    "how_long": BilingualText("How long", "Combien de temps"),
    "who": BilingualText("Who", "Qui"),
    "where_address": BilingualText("{address}; shown {place}", "{address} ; indiqué {place}"),
    "where_said": BilingualText(
        "within {size} of latitude {latitude}, longitude {longitude}",
        "dans une maille de {size} autour de la latitude {latitude}, longitude {longitude}",
    ),
    "precision": BilingualText("Precision of the locations", "Précision des emplacements"),
    "precision_said": BilingualText(
        "cells of {size}, the middle of which is shown; set by the operator",
        "mailles de {size}, dont le centre est indiqué ; choix de l'exploitant",
    ),
    "operator": BilingualText("Operator", "Exploitant"),
    "kind": BilingualText("Kind of place", "Type de lieu"),
    "since": BilingualText("In service since", "En service depuis"),
    "purposes": BilingualText("Purposes and legal bases", "Finalités et bases légales"),
    "measures": BilingualText("Measures", "Mesure"),
    "recognises": BilingualText("May recognise", "Peut reconnaître"),
    "measured_now": BilingualText(
        "measured here within 30 days", "mesures faites ici au cours des 30 derniers jours"
    ),
    "none_measured_now": BilingualText(
        "No measurements within 30 days. May be measured: {names}.",
        "Aucune mesure au cours des 30 derniers jours. Peuvent être mesurés : {names}.",
    ),
    "not_measured_now": BilingualText(
        "May also be measured, but was not within 30 days",
        "Peut aussi être mesuré, mais ne l'a pas été depuis 30 jours",
    ),
    "description": BilingualText("Why", "Pourquoi"),
    "legal_basis": BilingualText("Legal basis", "Base légale"),
    "legal_reference": BilingualText("Reference text", "Texte de référence"),
    "controller": BilingualText("Controller", "Responsable du traitement"),
    "controller_default": BilingualText("{name} (the operator)", "{name} (l'exploitant)"),
    "contact": BilingualText("Contact", "Contact"),
    "retention": BilingualText("Storage period", "Durée de conservation"),
    "duration": BilingualText("Period", "Période"),
    "impact_assessment": BilingualText("Impact assessment", "Analyse d'impact"),
    "notice": BilingualText("Notice to the public", "Information du public"),
    "approval": BilingualText("Approved by a second person", "Approbation par une seconde personne"),
    "approval_not_needed": BilingualText("not required for this purpose", "non requise pour cette finalité"),
    "approval_missing": BilingualText(
        "not approved: no data are accepted", "absente : aucune donnée n'est acceptée"
    ),
    "open_data": BilingualText("Figures published", "Données publiées"),
    "open_yes": BilingualText("yes, see the charts below", "oui, voir les graphiques ci-dessous"),
    "open_none_yet": BilingualText(
        "yes; there are none for the last 365 days yet",
        "oui ; il n'y en a pas encore pour les 365 derniers jours",
    ),
    "open_no": BilingualText("no", "non"),
    "open_never": BilingualText(
        "no: a sensitive purpose is never published", "non : une finalité sensible n'est jamais publiée"
    ),
    "sensitive": BilingualText("sensitive", "sensible"),
    "never": BilingualText("What is never collected", "Ce qui n'est jamais collecté"),
    "never_said": BilingualText(
        "Sound recordings, voices, images, video, faces, number plates and identifiers of persons are "
        "rejected on receipt and stored nowhere.",
        "Les enregistrements sonores, les voix, les images, les vidéos, les visages, les plaques "
        "d'immatriculation et les identifiants de personnes sont rejetés à la réception et ne sont "
        "enregistrés nulle part.",
    ),
    "places": BilingualText("Where the boxes are", "Où sont les boîtiers"),
    "box": BilingualText("Box", "Boîtier"),
    "box_said": BilingualText(
        "Each box has a public number of its own; the name under which it sends stays secret.",
        "Chaque boîtier a un numéro public ; le nom sous lequel il émet reste secret.",
    ),
    "latitude": BilingualText("Latitude", "Latitude"),
    "longitude": BilingualText("Longitude", "Longitude"),
    "at_the_site": BilingualText("at the place of the site", "à l'emplacement du site"),
    "more_boxes": BilingualText(
        "{count} more are in the data (GeoJSON).", "{count} autres figurent dans les données (GeoJSON)."
    ),
    "recipients": BilingualText("Who receives alerts", "Qui reçoit les alertes"),
    "recipients_none": BilingualText(
        "No recipients: alerts of this site are not sent.",
        "Les alertes de ce site ne sont envoyées à personne.",
    ),
    "unnamed": BilingualText(
        "a recipient not named by the operator", "un destinataire que l'exploitant n'a pas nommé"
    ),
    "by_webhook": BilingualText("by automatic transfer", "par envoi automatique"),
    "by_email": BilingualText("by e-mail", "par courriel"),
    "by_mqtt": BilingualText("by automatic transfer (MQTT)", "par envoi automatique (MQTT)"),
    "activity": BilingualText("Activity", "Bilan"),
    "alerts": BilingualText("Alerts", "Alertes"),
    "severity": BilingualText("Severity", "Gravité"),
    "month": BilingualText("30 days", "30 jours"),
    "year": BilingualText("365 days", "365 jours"),
    "alerts_none": BilingualText("No alert within 365 days.", "Aucune alerte depuis 365 jours."),
    "incidents": BilingualText("Acoustic incidents", "Incidents acoustiques"),
    "incidents_off": BilingualText(
        "No acoustic incidents are recognised here.", "Aucun incident acoustique n'est reconnu ici."
    ),
    "incidents_said": BilingualText(
        "{month} within 30 days, {year} within 365 days; of these, people confirmed {confirmed} and "
        "dismissed {dismissed}.",
        "{month} en 30 jours, {year} en 365 jours. Après examen par des personnes, confirmés : {confirmed} ; "
        "écartés : {dismissed}.",
    ),
    "precision_published": BilingualText("Rate of confirmed incidents", "Taux d'incidents confirmés"),
    "precision_is": BilingualText(
        "{share}; reviewed incidents: {reviewed} (95% confidence interval: {low} to {high})",
        "{share} ; incidents examinés : {reviewed} (intervalle de confiance à 95 % : de {low} à {high})",
    ),
    "precision_unknown": BilingualText(
        "unknown: no incident was reviewed yet", "inconnu : aucun incident n'a encore été examiné"
    ),
    "false_alarms": BilingualText("False alarms", "Fausses alertes"),
    "false_alarms_are": BilingualText("{rate} a year", "{rate} par an"),
    "false_alarms_unknown": BilingualText(
        "not known as a rate: observed for less than {days} days",
        "fréquence inconnue : moins de {days} jours d'observation",
    ),
    "refusals": BilingualText("Rejected on receipt", "Rejeté à la réception"),
    "refusals_said": BilingualText(
        "Messages without a purpose in force, or with forbidden content. They are counted, and stored "
        "nowhere.",
        "Les envois sans finalité en vigueur, ou dont le contenu est interdit. Ils sont comptés, et ne sont "
        "enregistrés nulle part.",
    ),
    "refusals_none": BilingualText(
        "Nothing was rejected within 365 days.", "Rien n'a été rejeté depuis 365 jours."
    ),
    "reason": BilingualText("Reason", "Motif"),
    "charts": BilingualText("Open data", "Données ouvertes"),
    "charts_said": BilingualText(
        "Means over all boxes of the site, as measured; sound levels are averaged by energy.",
        "Moyennes de tous les boîtiers du site, telles que mesurées ; les niveaux sonores sont moyennés "
        "en énergie.",
    ),
    "charts_none": BilingualText(
        "No figures of this site are published.", "Aucune donnée de ce site n'est publiée."
    ),
    "charts_none_yet": BilingualText(
        "There are no figures for the last 365 days yet. The mean of an hour appears once the hour is over.",
        "Il n'y a pas encore de valeurs pour les 365 derniers jours. La moyenne d'une heure paraît une fois "
        "l'heure écoulée.",
    ),
    "week": BilingualText("Last 7 days, hour by hour", "7 derniers jours, heure par heure"),
    "of_a_year": BilingualText("Last 365 days, day by day", "365 derniers jours, jour par jour"),
    "numbers": BilingualText("Numbers", "Valeurs"),
    "when": BilingualText("When", "Quand"),
    "mean": BilingualText("Mean", "Moyenne"),
    "chart_summary": BilingualText(
        "{title}: between {low} and {high}; the last one {last}.",
        "{title} : entre {low} et {high} ; la dernière {last}.",
    ),
    "days_of_numbers": BilingualText("Daily means of the hours", "Moyennes journalières de ces heures"),
    "dtpr": BilingualText("DTPR description", "Description DTPR"),
    "dtpr_said": BilingualText(
        "Digital Trust for Places and Routines is an open standard that describes technology in public "
        "places.",
        "Digital Trust for Places and Routines est un standard ouvert qui décrit la technologie dans les "
        "lieux publics.",
    ),
    "changes": BilingualText("Last changes", "Derniers changements"),
    "all_changes": BilingualText("All changes of this site", "Tous les changements de ce site"),
    "changes_lead": BilingualText(
        "Every change of the register's content. The database records it with the change itself.",
        "Tous les changements du contenu du registre. La base de données les inscrit en même temps que le "
        "changement lui-même.",
    ),
    "changes_none": BilingualText("Nothing has changed yet.", "Rien n'a encore changé."),
    "older": BilingualText("Older changes", "Changements plus anciens"),
    "back": BilingualText("Back to the map and the list", "Retour à la carte et à la liste"),
    "missing_title": BilingualText(
        "This site is not in the register", "Ce site ne figure pas dans le registre"
    ),
    "missing_said": BilingualText(
        "It may have been removed:",
        "Il a peut-être été retiré :",
    ),
    "missing_history": BilingualText("see the history", "consultez l'historique"),
    "rights_here": BilingualText(
        "Ask what data about this place are stored, object, or ask a question",
        "Demander quelles données sont conservées au sujet de ce lieu, s'y opposer ou poser une question",
    ),
    "of_which": BilingualText("{titles}: {value}", "{titles} : {value}"),
    "history_of": BilingualText("History: {name}", "Historique : {name}"),
    "comma": BilingualText(", ", ", "),
    "metre": BilingualText("{} m", "{} m"),
    "kilometre": BilingualText("{} km", "{} km"),
    # How to read it.
    "about_lead": BilingualText(
        "This register is generated automatically. It shows the current configuration of the boxes of this "
        "installation.",
        "Ce registre est généré : personne ne le rédige. Il montre la configuration actuelle des boîtiers "
        "de cette installation.",
    ),
}
"""Texts by key. Placeholders such as `{name}` are filled in by the caller."""
