"""What the pages of requests say, in English and French. Data only."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.indicators.index_results import Text

WORDS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "title": Text("Exercise a right", "Exercer un droit"),
        "lead": Text(
            "Ask what data are stored, object to their processing, or have them erased or corrected. You "
            "need no account, and need not say who you are. The organisation responsible for the place has "
            "one month to answer.",
            "Demandez quelles données sont conservées, opposez-vous à leur traitement, faites-les effacer ou "
            "corriger. Aucun compte n'est nécessaire, et vous n'avez pas à dire qui vous êtes. Le "
            "responsable du lieu a un mois pour répondre.",
        ),
        "about": Text("Subject of the request", "Objet de la demande"),
        "site": Text("Place", "Lieu"),
        "no_site": Text("No place in particular", "Aucun lieu en particulier"),
        "kind": Text("Type of request", "Type de demande"),
        "message": Text("Your request", "Votre demande, avec vos mots"),
        "message_hint": Text(
            "Give the place and the time as exactly as you can. Do not mention other people.",
            "Précisez le lieu et le moment, autant que vous le pouvez. Ne mentionnez pas d'autres personnes.",
        ),
        "time": Text("Period, if there is one", "Période, s'il y en a une"),
        "begins_at": Text("From", "Du"),
        "ends_at": Text("To", "Au"),
        "time_hint": Text(
            "Local time of the place; universal time (UTC) if no place is chosen.",
            "Heure locale du lieu ; si aucun lieu n'est choisi, temps universel (UTC).",
        ),
        "you": Text("About you (optional)", "Vous (facultatif)"),
        "name": Text("Name", "Nom"),
        "contact": Text("E-mail or postal address", "Adresse électronique ou postale"),
        "optional": Text("optional", "facultatif"),
        "send": Text("Send the request", "Envoyer la demande"),
        "made": Text("Your request is registered", "Votre demande est enregistrée"),
        "keep": Text(
            "Keep these two codes: you need them to read the answer on this page. They are not shown again, "
            "and nobody can give them to you again.",
            "Gardez ces deux codes : ils vous permettront de lire la réponse sur cette page. Ils ne seront "
            "plus affichés, et personne ne pourra vous les redonner.",
        ),
        "reference": Text("Reference", "Référence"),
        "token": Text("Token", "Jeton"),
        "due": Text("Answer due by", "Réponse au plus tard le"),
        "look_title": Text("Track a request", "Suivre une demande"),
        "look": Text("Show", "Consulter"),
        "withdraw": Text("Withdraw the request", "Retirer la demande"),
        "withdraw_said": Text(
            "A withdrawn request is closed for good. You can make a new one.",
            "Une demande retirée est définitivement close. Vous pourrez en déposer une nouvelle.",
        ),
        "withdraw_confirm": Text("Yes, withdraw it", "Oui, la retirer"),
        "state": Text("State", "État"),
        "received": Text("Received on", "Reçue le"),
        "closed": Text("Closed on", "Close le"),
        "extension": Text("Why it takes longer", "Motif de la prolongation"),
        "outcome": Text("Outcome", "Suite donnée"),
        "answer": Text("Answer", "Réponse"),
        "back": Text("Back to the register", "Retour au registre"),
        "rights": Text(
            "If you are not satisfied, you can complain to your data-protection authority.",
            "Si la réponse ne vous satisfait pas, vous pouvez saisir l'autorité de protection des données "
            "(en France, la CNIL).",
        ),
        "kept": Text(
            "Only the people who handle the request read your text. It is removed {days} days after the "
            "request is closed.",
            "Votre texte n'est lu que par les personnes qui traitent la demande. Il est supprimé {days} "
            "jours après sa clôture.",
        ),
        "wrong": Text("That did not work", "La demande n'a pas abouti"),
    }
)

KINDS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "access": Text(
            "Find out what data are stored (access)", "Savoir quelles données sont conservées (accès)"
        ),
        "objection": Text("Object to the processing (objection)", "M'opposer au traitement (opposition)"),
        "erasure": Text("Have data erased (erasure)", "Faire effacer des données (effacement)"),
        "rectification": Text(
            "Have data corrected (rectification)", "Faire corriger des données (rectification)"
        ),
        "restriction": Text(
            "Have data stored but not used (restriction)",
            "Faire conserver des données sans qu'elles soient utilisées (limitation)",
        ),
        "question": Text("Something else: a question", "Autre chose : une question"),
    }
)

STATES: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "received": Text("Received", "Reçue"),
        "in_progress": Text("Being worked on", "En cours"),
        "answered": Text("Answered", "Réponse donnée"),
        "withdrawn": Text("Withdrawn", "Retirée"),
    }
)

OUTCOMES: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "granted": Text("Granted", "Acceptée"),
        "partly_granted": Text("Granted in part", "Acceptée en partie"),
        "refused": Text("Refused", "Refusée"),
        "nothing_held": Text("No data are stored", "Aucune donnée n'est conservée"),
    }
)

FAULTS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "invalid_text": Text(
            "Write something; some characters are not accepted.",
            "Écrivez quelque chose ; certains caractères ne sont pas admis.",
        ),
        "text_too_long": Text("The text is too long.", "Le texte est trop long."),
        "range_reversed": Text("The end must be after the beginning.", "La fin doit venir après le début."),
        "not_found": Text(
            "There is no such request or place, or the token does not fit it.",
            "Cette demande ou ce lieu n'existe pas, ou le jeton ne correspond pas.",
        ),
        "request_closed": Text("The request is already closed.", "La demande est déjà close."),
        "too_many_attempts": Text(
            "There were too many tries from your address: come back in an hour.",
            "Trop d'essais depuis votre adresse : revenez dans une heure.",
        ),
        "forbidden_content": Text(
            "Pictures, sound and long codes are not accepted: use words.",
            "Les images, les sons et les longs codes ne sont pas admis : écrivez avec des mots.",
        ),
        "": Text("Check your input, and try again.", "Relisez votre saisie, puis réessayez."),
    }
)
"""What people are told of a refusal, by its code; the last one of any other."""
