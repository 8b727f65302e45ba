"""What the pages of the register say, in English and French. Pure."""

from collections.abc import Mapping
from typing import Final

from app.city.results import Text

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
        "Made of the live configuration on {day} at {clock} (UTC).",
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
        "What measures here, where, why, by what right, for how long, and who answers for it.",
        "Ce qui mesure ici, où, pourquoi, à quel titre, pour combien de temps, et qui en répond.",
    ),
    "sites": Text("Sites", "Sites"),
    "boxes": Text("Boxes", "Boîtiers"),
    "operators": Text("Operators", "Exploitants"),
    "sensitive_sites": Text("Sites with a sensitive purpose", "Sites à finalité sensible"),
    "search": Text("Search", "Recherche"),
    "search_hint": Text("Name, operator, address, or 43.6, 1.44", "Nom, exploitant, adresse, ou 43,6 1,44"),
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
    "place_asked": Text("The place that you look for", "Le lieu recherché"),
    "away": Text("about {distance} away", "à environ {distance}"),
    "found_near": Text(
        "{count} within {far} of this place, the nearest first",
        "{count} à moins de {far} de ce lieu, du plus proche au plus éloigné",
    ),
    "found_far": Text(
        "None within {far} of this place; the nearest ones: {count}",
        "Aucun à moins de {far} de ce lieu ; les plus proches : {count}",
    ),
    "purpose": Text("Purpose", "Finalité"),
    "any_purpose": Text("Any purpose", "Toutes les finalités"),
    "apply": Text("Show", "Afficher"),
    "clear": Text("Show all", "Tout afficher"),
    "map": Text("Map of the sites", "Carte des sites"),
    "map_said": Text(
        "The list below says the same as this map. Arrow keys move the map, + and - zoom.",
        "La liste ci-dessous dit la même chose que cette carte. Les flèches déplacent la carte, + et - "
        "changent "
        "l'échelle.",
    ),
    "map_without_script": Text(
        "The map needs JavaScript; the list below says the same.",
        "La carte a besoin de JavaScript ; la liste ci-dessous dit la même chose.",
    ),
    "map_key_site": Text(
        "A site; the number is how many boxes it has", "Un site ; le chiffre est le nombre de ses boîtiers"
    ),
    "map_key_sensitive": Text("A site with a sensitive purpose", "Un site à finalité sensible"),
    "map_key_box": Text("Boxes (from nearby)", "Boîtiers (de près)"),
    "map_key_cell": Text(
        "Places are shown as the cell of a grid in which they lie.",
        "Les emplacements sont indiqués par la maille d'une grille.",
    ),
    "list": Text("List of the sites", "Liste des sites"),
    "found_one": Text("{} site", "{} site"),
    "found_many": Text("{} sites", "{} sites"),
    "nothing_found": Text(
        "No site fits. Try fewer words, or another purpose.",
        "Aucun site ne correspond. Essayez avec moins de mots, ou une autre finalité.",
    ),
    "no_sites": Text("No boxes are registered here yet.", "Aucun boîtier n'est encore enregistré ici."),
    "box_one": Text("{} box", "{} boîtier"),
    "box_many": Text("{} boxes", "{} boîtiers"),
    "operated_by": Text("operated by {name}", "exploitant : {name}"),
    "refused_here": Text("Refused at the doors, of no known site", "Refusé à l'entrée, sans site connu"),
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
        "Nothing of what is published was measured within the last 24 hours.",
        "Rien de ce qui est publié n'a été mesuré au cours des dernières 24 heures.",
    ),
    "newest_at": Text("on {day} at {clock}", "le {day} à {clock}"),
    "newest_of": Text(", mean of {count} boxes", ", moyenne de {count} boîtiers"),
    "all_doubtful": Text("no value without a doubt", "aucune valeur sûre"),
    "coverage": Text("Measured: {share} of the 24 hours", "Mesuré : {share} des 24 heures"),
    "left_out_one": Text("{} doubtful value left out", "{} valeur douteuse écartée"),
    "left_out_many": Text("{} doubtful values left out", "{} valeurs douteuses écartées"),
    "index_of": Text(
        "{title}, {start} to {end}, measured: {share} of the hour",
        "{title}, de {start} à {end}, mesuré : {share} de l'heure",
    ),
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
        "The operator has not said yet what this site measures for, nor by what right. Nothing that it "
        "measures is published. What the program knows by itself is below.",
        "L'exploitant n'a pas encore indiqué à quelles fins ce site mesure, ni à quel titre. Rien de ce "
        "qu'il mesure n'est publié. Ce que le logiciel sait par lui-même figure ci-dessous.",
    ),
    "defaults": Text("Not declared yet", "Pas encore déclaré"),
    "defaults_said": Text(
        "Boxes may send values for these purposes by default. The operator has declared nothing of them: no "
        "legal basis is claimed, and nothing is published.",
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
    "what_differs": Text("What differs by purpose", "Ce qui change d'une finalité à l'autre"),
    "about_what": Text("About what", "Sujet"),
    "for_purpose": Text("For which purpose", "Pour quelle finalité"),
    "answer": Text("Answer", "Réponse"),
    "week_and_year": Text("7 days and 365 days", "7 jours et 365 jours"),
    "in_short": Text("In short", "En bref"),
    "what": Text("What", "Quoi"),
    "where": Text("Where", "Où"),
    "why": Text("Why", "Pourquoi"),
    "by_what_right": Text("By what right", "À quel titre"),
    "how_long": Text("How long", "Combien de temps"),
    "who": Text("Who", "Qui"),
    "where_address": Text("{address}; shown {place}", "{address} ; indiqué {place}"),
    "where_said": Text(
        "within {size} of latitude {latitude}, longitude {longitude}",
        "dans une maille de {size} autour de la latitude {latitude}, longitude {longitude}",
    ),
    "precision": Text("Precision of the places", "Précision des emplacements"),
    "precision_said": Text(
        "cells of {size}, the middle of which is shown; set by the operator",
        "mailles de {size}, dont le centre est indiqué ; choix de l'exploitant",
    ),
    "operator": Text("Operator", "Exploitant"),
    "kind": Text("Kind of place", "Type de lieu"),
    "since": Text("In service since", "En service depuis"),
    "purposes": Text("What is measured, and by what right", "Ce qui est mesuré, et à quel titre"),
    "measures": Text("Measures", "Mesure"),
    "recognises": Text("May recognise", "Peut reconnaître"),
    "measured_now": Text("measured here within 30 days", "mesures faites ici au cours des 30 derniers jours"),
    "none_measured_now": Text(
        "Nothing of it within 30 days. May be measured: {names}.",
        "Rien au cours des 30 derniers jours. Peuvent être mesurés : {names}.",
    ),
    "not_measured_now": Text(
        "May also be measured, but was not within 30 days",
        "Peut aussi être mesuré, mais ne l'a pas été depuis 30 jours",
    ),
    "description": Text("Why", "Pourquoi"),
    "legal_basis": Text("Legal basis", "Base légale"),
    "legal_reference": Text("Text that it rests on", "Texte de référence"),
    "controller": Text("Controller", "Responsable du traitement"),
    "controller_default": Text("{name} (the operator)", "{name} (l'exploitant)"),
    "contact": Text("Contact", "Contact"),
    "retention": Text("How long it is kept", "Durée de conservation"),
    "duration": Text("From when to when", "Période"),
    "impact_assessment": Text("Impact assessment", "Analyse d'impact"),
    "notice": Text("Notice to the public", "Information du public"),
    "approval": Text("Approved by a second person", "Approbation par une seconde personne"),
    "approval_not_needed": Text("not required for this purpose", "non requise pour cette finalité"),
    "approval_missing": Text("not approved: nothing is taken for it", "absente : rien n'est accepté"),
    "open_data": Text("Figures published", "Données publiées"),
    "open_yes": Text("yes, see the charts below", "oui, voir les graphiques ci-dessous"),
    "open_none_yet": Text(
        "yes; there are none of the last 365 days yet",
        "oui ; il n'y en a pas encore pour les 365 derniers jours",
    ),
    "open_no": Text("no", "non"),
    "open_never": Text(
        "no: a sensitive purpose is never published", "non : une finalité sensible n'est jamais publiée"
    ),
    "sensitive": Text("sensitive", "sensible"),
    "never": Text("What never enters", "Ce qui n'entre jamais"),
    "never_said": Text(
        "Sound recordings, voices, images, video, faces, number plates and identifiers of persons are "
        "refused at "
        "the door and stored nowhere.",
        "Les enregistrements sonores, les voix, les images, les vidéos, les visages, les plaques "
        "d'immatriculation "
        "et les identifiants de personnes sont refusés à l'entrée et ne sont enregistrés nulle part.",
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
        "Nobody is sent alerts of this site.", "Les alertes de ce site ne sont envoyées à personne."
    ),
    "unnamed": Text(
        "a recipient not named by the operator", "un destinataire que l'exploitant n'a pas nommé"
    ),
    "by_webhook": Text("by webhook", "par webhook"),
    "by_email": Text("by e-mail", "par courriel"),
    "by_mqtt": Text("by MQTT", "par MQTT"),
    "activity": Text("What became of it", "Ce qu'il en est advenu"),
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
    "precision_published": Text("Precision", "Précision"),
    "precision_is": Text(
        "{share} of the {reviewed} that people reviewed were confirmed (95% confidence interval: {low} to "
        "{high})",
        "part confirmée des incidents examinés ({reviewed}) : {share} (intervalle de confiance à 95 % "
        ": de {low} à {high})",
    ),
    "precision_unknown": Text("not known: none was reviewed yet", "inconnue : aucun n'a encore été examiné"),
    "false_alarms": Text("False alarms", "Fausses alertes"),
    "false_alarms_are": Text("{rate} a year", "{rate} par an"),
    "false_alarms_unknown": Text(
        "not known as a rate: observed for less than {days} days",
        "fréquence inconnue : moins de {days} jours d'observation",
    ),
    "refusals": Text("Refused at the doors", "Refusé à l'entrée"),
    "refusals_said": Text(
        "What came without a purpose in force, or was content that may never enter. It was counted, and "
        "stored nowhere.",
        "Les envois sans finalité en vigueur, ou dont le contenu ne doit jamais entrer. Ils sont comptés, "
        "et ne sont enregistrés nulle part.",
    ),
    "refusals_none": Text("Nothing was refused within 365 days.", "Rien n'a été refusé depuis 365 jours."),
    "reason": Text("Reason", "Motif"),
    "charts": Text("Open data", "Données ouvertes"),
    "charts_said": Text(
        "Means over all boxes of the site, as measured; sound levels are averaged by energy.",
        "Moyennes de tous les boîtiers du site, telles que mesurées ; les niveaux sonores sont moyennés "
        "en énergie.",
    ),
    "charts_none": Text("No figures of this site are published.", "Aucune donnée de ce site n'est publiée."),
    "charts_none_yet": Text(
        "There are no figures of the last 365 days yet. The mean of an hour appears once the hour is over.",
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
    "dtpr": Text("In the words of DTPR", "Selon DTPR"),
    "dtpr_said": Text(
        "Digital Trust for Places and Routines is an open standard for telling of technology in public "
        "places.",
        "Digital Trust for Places and Routines est un standard ouvert pour informer sur la technologie dans "
        "les lieux publics.",
    ),
    "changes": Text("Last changes", "Derniers changements"),
    "all_changes": Text("All changes of this site", "Tous les changements de ce site"),
    "changes_lead": Text(
        "Every change of what the register shows, written by the database with the change itself.",
        "Chaque changement de ce que montre le registre, inscrit par la base de données en même temps que "
        "le changement lui-même.",
    ),
    "changes_none": Text("Nothing has changed yet.", "Rien n'a encore changé."),
    "older": Text("Older changes", "Changements plus anciens"),
    "back": Text("Back to the map and the list", "Retour à la carte et à la liste"),
    "missing_title": Text("There is no such site in the register", "Ce site n'est pas au registre"),
    "missing_said": Text(
        "It may have been removed: the history says so.",
        "Il a pu être retiré : l'historique le dit.",
    ),
    "rights_here": Text(
        "Ask what is held of this place, object, or put a question",
        "Demander ce qui est conservé au sujet de ce lieu, s'y opposer ou poser une question",
    ),
    "of_which": Text("{titles}: {value}", "{titles} : {value}"),
    "history_of": Text("History: {name}", "Historique : {name}"),
    "comma": Text(", ", ", "),
    "metre": Text("{} m", "{} m"),
    "kilometre": Text("{} km", "{} km"),
    # How to read it.
    "about_lead": Text(
        "This register is generated: nobody writes it. It shows what the boxes of this installation are "
        "configured to do at this moment.",
        "Ce registre est généré : personne ne le rédige. Il montre ce que les boîtiers de cette "
        "installation sont "
        "réglés pour faire en ce moment.",
    ),
}
"""By key. `{name}` is filled in."""
