"""What the pages of the register say, in English and French. Pure."""

from collections.abc import Mapping
from typing import Final

from app.indicators.index_results import Text

WORDS: Final[Mapping[str, Text]] = {
    # Every page.
    "register": Text("Public register of sensors", "Registre public des capteurs"),
    "skip": Text("Skip to the content", "Aller au contenu"),
    "menu": Text("Pages of the register", "Pages du registre"),
    "nav_map": Text("Map and list", "Carte et liste"),
    "nav_changes": Text("History", "Historique"),
    "nav_about": Text("How to read it", "Mode d'emploi"),
    "nav_requests": Text("Exercise your rights", "Exercer vos droits"),
    "other_language": Text("Français", "English"),
    "made_at": Text(
        "Generated from the live configuration on {day} at {clock} (UTC).",
        "Établi d'après la configuration en vigueur le {day} à {clock} (UTC).",
    ),
    "data_as": Text("The same as data:", "Les mêmes informations en données :"),
    "feed": Text("Feed of changes (Atom)", "Flux des changements (Atom)"),
    "not_given": Text("not yet given by the operator", "pas encore indiqué par l'exploitant"),
    "none": Text("none", "aucun"),
    "yes": Text("yes", "oui"),
    "no": Text("no", "non"),
    # Map and list.
    "lead": Text(
        "Each measuring site: its place, purposes, legal bases, storage periods and operator.",
        "Chaque site de mesure : son emplacement, ses finalités, ses bases légales, ses durées de "
        "conservation et son exploitant.",
    ),
    "sites": Text("Sites", "Sites"),
    "boxes": Text("Boxes", "Boîtiers"),
    "operators": Text("Operators", "Exploitants"),
    "sensitive_sites": Text("Sites with a sensitive purpose", "Sites à finalité sensible"),
    "search": Text("Search", "Recherche"),
    "search_hint": Text("Name, address, or 43.6, 1.44", "Nom, adresse ou 43,6 1,44"),
    "near_me": Text("Near me", "Autour de moi"),
    "near_me_said": Text(
        "“Near me” asks your browser for your position, and sends it rounded to 0.01°, about 1 km.",
        "« Autour de moi » demande votre position au navigateur et ne l'envoie qu'arrondie à 0,01°, "
        "soit environ 1 km.",
    ),
    "near_me_refused": Text(
        "Your browser gives no position. Enter coordinates or an address instead.",
        "Votre navigateur ne donne pas de position. Saisissez plutôt des coordonnées ou une adresse.",
    ),
    "undeclared": Text("not declared yet by the operator", "pas encore déclaré par l'exploitant"),
    "undeclared_only": Text("Nothing declared yet", "Rien de déclaré à ce jour"),
    "place_asked": Text("The place that you searched for", "Le lieu recherché"),
    "away": Text("about {distance} away", "à environ {distance}"),
    "found_near": Text(
        "{count} within {far} of this place",
        "{count} à moins de {far} de ce lieu",
    ),
    "found_far": Text(
        "No site within {far}; the nearest are shown ({count})",
        "Aucun site à moins de {far} ; voici les plus proches ({count})",
    ),
    "purpose": Text("Purpose", "Finalité"),
    "any_purpose": Text("Any purpose", "Toutes les finalités"),
    "apply": Text("Show", "Afficher"),
    "clear": Text("Show all", "Tout afficher"),
    "map": Text("Map of the sites", "Carte des sites"),
    "map_said": Text(
        "The list below has the same content as this map. With a keyboard: arrow keys move the map, + and "
        "\u2212 zoom.",
        "La liste ci-dessous a le même contenu que cette carte. Au clavier : les flèches déplacent la carte, "
        "+ et \u2212 zooment.",
    ),
    "map_without_script": Text(
        "The map needs JavaScript; the list below has the same content.",
        "La carte a besoin de JavaScript ; la liste ci-dessous a le même contenu.",
    ),
    "map_key_site": Text(
        "Site (the number shows how many boxes it has)", "Site (le chiffre indique le nombre de boîtiers)"
    ),
    "map_key_sensitive": Text("Site with a sensitive purpose", "Site à finalité sensible"),
    "map_key_box": Text("Boxes (visible when you zoom in)", "Boîtiers (visibles en zoomant)"),
    "map_key_cell": Text(
        "Locations are shown to the nearest grid cell.",
        "Les emplacements sont indiqués à la maille près.",
    ),
    "list": Text("List of the sites", "Liste des sites"),
    "found_one": Text("{} site", "{} site"),
    "found_many": Text("{} sites", "{} sites"),
    "nothing_found": Text(
        "No site matches. Try fewer words, or another purpose.",
        "Aucun site ne correspond. Essayez avec moins de mots, ou une autre finalité.",
    ),
    "no_sites": Text("No boxes are registered here yet.", "Aucun boîtier n'est encore enregistré ici."),
    "box_one": Text("{} box", "{} boîtier"),
    "box_many": Text("{} boxes", "{} boîtiers"),
    "operated_by": Text("operated by {name}", "exploitant : {name}"),
    "refused_here": Text("Rejected on receipt, from no known site", "Rejeté à la réception, sans site connu"),
    "page_of": Text("Sites {first} to {last} of {total}", "Sites {first} à {last} sur {total}"),
    "next_page": Text("Next sites", "Sites suivants"),
    "earlier_page": Text("Earlier sites", "Sites précédents"),
    # What was measured last.
    "now": Text("Now, and the last 24 hours", "En ce moment, et les dernières 24 heures"),
    "now_said": Text(
        "Published by the operator; means over the boxes of the site, renewed every minute. Doubtful values "
        "are left out. Nobody has checked the rest.",
        "Publié par l'exploitant ; moyennes des boîtiers du site, renouvelées chaque minute. Les valeurs "
        "douteuses sont écartées. Les autres n'ont été vérifiées par personne.",
    ),
    "now_none": Text(
        "There are no measurements of the published quantities in the last 24 hours.",
        "Aucune mesure des grandeurs publiées au cours des dernières 24 heures.",
    ),
    "newest_at": Text("on {day} at {clock}", "le {day} à {clock}"),
    "newest_of": Text(", mean of {count} boxes", ", moyenne de {count} boîtiers"),
    "all_doubtful": Text("no reliable value", "aucune valeur fiable"),
    "coverage": Text("Measured: {share} of the 24 hours", "Mesuré : {share} des 24 heures"),
    "left_out_one": Text("{} doubtful value left out", "{} valeur douteuse écartée"),
    "left_out_many": Text("{} doubtful values left out", "{} valeurs douteuses écartées"),
    "index_of": Text(
        "{title}, {start} to {end}, measured: {share} of the hour",
        "{title}, de {start} à {end}, mesuré : {share} de l'heure",
    ),
    "index_without": Text("{title}, {start} to {end}: {reason}", "{title}, de {start} à {end} : {reason}"),
    "of_a_day": Text("Last 24 hours", "Dernières 24 heures"),
    "of_a_day_json": Text("last 24 hours (JSON)", "dernières 24 heures (JSON)"),
    "of_a_day_csv": Text("last 24 hours (CSV)", "dernières 24 heures (CSV)"),
    "licence": Text("Licence of the open data", "Licence des données ouvertes"),
    "licence_none": Text(
        "The operator names no licence for these data: ask the contact before you reuse them.",
        "L'exploitant n'indique pas de licence pour ces données : adressez-vous au contact avant de les "
        "réutiliser.",
    ),
    # A site.
    "undeclared_title": Text("Not declared yet by the operator", "Pas encore déclaré par l'exploitant"),
    "undeclared_said": Text(
        "The operator has not yet declared the purposes of this site, nor their legal bases. None of its "
        "measurements is published. The information below comes from the program itself.",
        "L'exploitant n'a pas encore indiqué à quelles fins ce site mesure, ni à quel titre. Rien de ce "
        "qu'il mesure n'est publié. Les informations ci-dessous viennent du logiciel lui-même.",
    ),
    "defaults": Text("Not declared yet", "Pas encore déclaré"),
    "defaults_said": Text(
        "Boxes may send values for these purposes by default. The operator has not declared them: no legal "
        "basis is claimed, and nothing is published.",
        "Par défaut, les boîtiers peuvent envoyer des valeurs pour ces finalités. L'exploitant n'en a rien "
        "déclaré : aucune base légale n'est invoquée, et rien n'est publié.",
    ),
    "default_measured": Text(
        "{title}. Measured here within 30 days: {names}", "{title}. Mesuré ici depuis 30 jours : {names}"
    ),
    "default_unmeasured": Text(
        "Nothing measured within 30 days: {titles}", "Rien de mesuré depuis 30 jours : {titles}"
    ),
    "address": Text("Address", "Adresse"),
    "same_for_all": Text("For all declared purposes", "Pour toutes les finalités déclarées"),
    "same_for_one": Text("For this purpose", "Pour cette finalité"),
    "what_differs": Text("Differences between purposes", "Différences entre les finalités"),
    "about_what": Text("Subject", "Sujet"),
    "for_purpose": Text("Purpose", "Finalité"),
    "answer": Text("Answer", "Réponse"),
    "week_and_year": Text("7 days and 365 days", "7 jours et 365 jours"),
    "in_short": Text("In short", "En bref"),
    "what": Text("What", "Quoi"),
    "where": Text("Where", "Où"),
    "why": Text("Why", "Pourquoi"),
    "by_what_right": Text("Legal basis", "Base légale"),
    "how_long": Text("How long", "Combien de temps"),
    "who": Text("Who", "Qui"),
    "where_address": Text("{address}; shown {place}", "{address} ; indiqué {place}"),
    "where_said": Text(
        "within {size} of latitude {latitude}, longitude {longitude}",
        "dans une maille de {size} autour de la latitude {latitude}, longitude {longitude}",
    ),
    "precision": Text("Precision of the locations", "Précision des emplacements"),
    "precision_said": Text(
        "cells of {size}, the middle of which is shown; set by the operator",
        "mailles de {size}, dont le centre est indiqué ; choix de l'exploitant",
    ),
    "operator": Text("Operator", "Exploitant"),
    "kind": Text("Kind of place", "Type de lieu"),
    "since": Text("In service since", "En service depuis"),
    "purposes": Text("Purposes and legal bases", "Finalités et bases légales"),
    "measures": Text("Measures", "Mesure"),
    "recognises": Text("May recognise", "Peut reconnaître"),
    "measured_now": Text("measured here within 30 days", "mesures faites ici au cours des 30 derniers jours"),
    "none_measured_now": Text(
        "No measurements within 30 days. May be measured: {names}.",
        "Aucune mesure au cours des 30 derniers jours. Peuvent être mesurés : {names}.",
    ),
    "not_measured_now": Text(
        "May also be measured, but was not within 30 days",
        "Peut aussi être mesuré, mais ne l'a pas été depuis 30 jours",
    ),
    "description": Text("Why", "Pourquoi"),
    "legal_basis": Text("Legal basis", "Base légale"),
    "legal_reference": Text("Reference text", "Texte de référence"),
    "controller": Text("Controller", "Responsable du traitement"),
    "controller_default": Text("{name} (the operator)", "{name} (l'exploitant)"),
    "contact": Text("Contact", "Contact"),
    "retention": Text("How long it is kept", "Durée de conservation"),
    "duration": Text("Period", "Période"),
    "impact_assessment": Text("Impact assessment", "Analyse d'impact"),
    "notice": Text("Notice to the public", "Information du public"),
    "approval": Text("Approved by a second person", "Approbation par une seconde personne"),
    "approval_not_needed": Text("not required for this purpose", "non requise pour cette finalité"),
    "approval_missing": Text("not approved: no data are accepted", "absente : aucune donnée n'est acceptée"),
    "open_data": Text("Figures published", "Données publiées"),
    "open_yes": Text("yes, see the charts below", "oui, voir les graphiques ci-dessous"),
    "open_none_yet": Text(
        "yes; there are none for the last 365 days yet",
        "oui ; il n'y en a pas encore pour les 365 derniers jours",
    ),
    "open_no": Text("no", "non"),
    "open_never": Text(
        "no: a sensitive purpose is never published", "non : une finalité sensible n'est jamais publiée"
    ),
    "sensitive": Text("sensitive", "sensible"),
    "never": Text("What is never collected", "Ce qui n'est jamais collecté"),
    "never_said": Text(
        "Sound recordings, voices, images, video, faces, number plates and identifiers of persons are "
        "rejected on receipt and stored nowhere.",
        "Les enregistrements sonores, les voix, les images, les vidéos, les visages, les plaques "
        "d'immatriculation et les identifiants de personnes sont rejetés à la réception et ne sont "
        "enregistrés nulle part.",
    ),
    "places": Text("Where the boxes are", "Où sont les boîtiers"),
    "box": Text("Box", "Boîtier"),
    "box_said": Text(
        "Each box has a public number of its own; the name under which it sends stays secret.",
        "Chaque boîtier a un numéro public ; le nom sous lequel il émet reste secret.",
    ),
    "latitude": Text("Latitude", "Latitude"),
    "longitude": Text("Longitude", "Longitude"),
    "at_the_site": Text("at the place of the site", "à l'emplacement du site"),
    "more_boxes": Text(
        "{count} more are in the data (GeoJSON).", "{count} autres figurent dans les données (GeoJSON)."
    ),
    "recipients": Text("Who receives alerts", "Qui reçoit les alertes"),
    "recipients_none": Text(
        "Nobody receives alerts of this site.", "Les alertes de ce site ne sont envoyées à personne."
    ),
    "unnamed": Text(
        "a recipient not named by the operator", "un destinataire que l'exploitant n'a pas nommé"
    ),
    "by_webhook": Text("by automatic transfer", "par envoi automatique"),
    "by_email": Text("by e-mail", "par courriel"),
    "by_mqtt": Text("by automatic transfer (MQTT)", "par envoi automatique (MQTT)"),
    "activity": Text("Activity", "Bilan"),
    "alerts": Text("Alerts", "Alertes"),
    "severity": Text("Severity", "Gravité"),
    "month": Text("30 days", "30 jours"),
    "year": Text("365 days", "365 jours"),
    "alerts_none": Text("No alert within 365 days.", "Aucune alerte depuis 365 jours."),
    "incidents": Text("Acoustic incidents", "Incidents acoustiques"),
    "incidents_off": Text(
        "No acoustic incidents are recognised here.", "Aucun incident acoustique n'est reconnu ici."
    ),
    "incidents_said": Text(
        "{month} within 30 days, {year} within 365 days; of these, people confirmed {confirmed} and "
        "dismissed {dismissed}.",
        "{month} en 30 jours, {year} en 365 jours. Après examen par des personnes, confirmés : {confirmed} ; "
        "écartés : {dismissed}.",
    ),
    "precision_published": Text("Rate of confirmed incidents", "Taux d'incidents confirmés"),
    "precision_is": Text(
        "{share}; reviewed incidents: {reviewed} (95% confidence interval: {low} to {high})",
        "{share} ; incidents examinés : {reviewed} (intervalle de confiance à 95 % : de {low} à {high})",
    ),
    "precision_unknown": Text(
        "unknown: no incident was reviewed yet", "inconnu : aucun incident n'a encore été examiné"
    ),
    "false_alarms": Text("False alarms", "Fausses alertes"),
    "false_alarms_are": Text("{rate} a year", "{rate} par an"),
    "false_alarms_unknown": Text(
        "not known as a rate: observed for less than {days} days",
        "fréquence inconnue : moins de {days} jours d'observation",
    ),
    "refusals": Text("Rejected on receipt", "Rejeté à la réception"),
    "refusals_said": Text(
        "Messages without a purpose in force, or with forbidden content. They are counted, and stored "
        "nowhere.",
        "Les envois sans finalité en vigueur, ou dont le contenu est interdit. Ils sont comptés, et ne sont "
        "enregistrés nulle part.",
    ),
    "refusals_none": Text("Nothing was rejected within 365 days.", "Rien n'a été rejeté depuis 365 jours."),
    "reason": Text("Reason", "Motif"),
    "charts": Text("Open data", "Données ouvertes"),
    "charts_said": Text(
        "Means over all boxes of the site, as measured; sound levels are averaged by energy.",
        "Moyennes de tous les boîtiers du site, telles que mesurées ; les niveaux sonores sont moyennés "
        "en énergie.",
    ),
    "charts_none": Text("No figures of this site are published.", "Aucune donnée de ce site n'est publiée."),
    "charts_none_yet": Text(
        "There are no figures for the last 365 days yet. The mean of an hour appears once the hour is over.",
        "Il n'y a pas encore de valeurs pour les 365 derniers jours. La moyenne d'une heure paraît une fois "
        "l'heure écoulée.",
    ),
    "week": Text("Last 7 days, hour by hour", "7 derniers jours, heure par heure"),
    "of_a_year": Text("Last 365 days, day by day", "365 derniers jours, jour par jour"),
    "numbers": Text("Numbers", "Valeurs"),
    "when": Text("When", "Quand"),
    "mean": Text("Mean", "Moyenne"),
    "chart_summary": Text(
        "{title}: between {low} and {high}; the last one {last}.",
        "{title} : entre {low} et {high} ; la dernière {last}.",
    ),
    "days_of_numbers": Text("Daily means of the hours", "Moyennes journalières de ces heures"),
    "dtpr": Text("DTPR description", "Description DTPR"),
    "dtpr_said": Text(
        "Digital Trust for Places and Routines is an open standard that describes technology in public "
        "places.",
        "Digital Trust for Places and Routines est un standard ouvert qui décrit la technologie dans les "
        "lieux publics.",
    ),
    "changes": Text("Last changes", "Derniers changements"),
    "all_changes": Text("All changes of this site", "Tous les changements de ce site"),
    "changes_lead": Text(
        "Every change of the register's content. The database records it with the change itself.",
        "Tous les changements du contenu du registre. La base de données les inscrit en même temps que le "
        "changement lui-même.",
    ),
    "changes_none": Text("Nothing has changed yet.", "Rien n'a encore changé."),
    "older": Text("Older changes", "Changements plus anciens"),
    "back": Text("Back to the map and the list", "Retour à la carte et à la liste"),
    "missing_title": Text("This site is not in the register", "Ce site ne figure pas dans le registre"),
    "missing_said": Text(
        "It may have been removed:",
        "Il a peut-être été retiré :",
    ),
    "missing_history": Text("see the history", "consultez l'historique"),
    "rights_here": Text(
        "Ask what data about this place are stored, object, or ask a question",
        "Demander quelles données sont conservées au sujet de ce lieu, s'y opposer ou poser une question",
    ),
    "of_which": Text("{titles}: {value}", "{titles} : {value}"),
    "history_of": Text("History: {name}", "Historique : {name}"),
    "comma": Text(", ", ", "),
    "metre": Text("{} m", "{} m"),
    "kilometre": Text("{} km", "{} km"),
    # How to read it.
    "about_lead": Text(
        "This register is generated: nobody writes it. It shows the present configuration of the boxes of "
        "this installation.",
        "Ce registre est généré : personne ne le rédige. Il montre la configuration actuelle des boîtiers "
        "de cette installation.",
    ),
}
"""By key. `{name}` is filled in."""
