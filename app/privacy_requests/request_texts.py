"""Holds the texts of the pages of rights requests, in English and French."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.indicators.index_results import BilingualText

WORDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "title": BilingualText("Exercise a right", "Exercer un droit"),
        "lead": BilingualText(
            "Ask what data are stored, object to their processing, or have them erased or corrected. You "
            "need no account, and need not say who you are. The organisation responsible for the place has "
            "one month to answer.",
            "Demandez quelles données sont conservées, opposez-vous à leur traitement, faites-les effacer ou "
            "corriger. Aucun compte n'est nécessaire, et vous n'avez pas à dire qui vous êtes. Le "
            "responsable du lieu a un mois pour répondre.",
        ),
        "about": BilingualText("Subject of the request", "Objet de la demande"),
        "site": BilingualText("Place", "Lieu"),
        "no_site": BilingualText("No place in particular", "Aucun lieu en particulier"),
        "kind": BilingualText("Type of request", "Type de demande"),
        "message": BilingualText("Your request", "Votre demande, avec vos mots"),
        "message_hint": BilingualText(
            "Give the place and the time as exactly as you can. Do not mention other people.",
            "Précisez le lieu et le moment, autant que vous le pouvez. Ne mentionnez pas d'autres personnes.",
        ),
        "time": BilingualText("Period, if there is one", "Période, s'il y en a une"),
        "begins_at": BilingualText("From", "Du"),
        "ends_at": BilingualText("To", "Au"),
        "time_hint": BilingualText(
            "Local time of the place; universal time (UTC) if no place is chosen.",
            "Heure locale du lieu ; si aucun lieu n'est choisi, temps universel (UTC).",
        ),
        "you": BilingualText("About you (optional)", "Vous (facultatif)"),
        "name": BilingualText("Name", "Nom"),
        "contact": BilingualText("E-mail or postal address", "Adresse électronique ou postale"),
        "optional": BilingualText("optional", "facultatif"),
        "send": BilingualText("Send the request", "Envoyer la demande"),
        "made": BilingualText("Your request is registered", "Votre demande est enregistrée"),
        "keep": BilingualText(
            "Keep these two codes: you need them to read the answer on this page. They are not shown again, "
            "and cannot be recovered.",
            "Gardez ces deux codes : ils vous permettront de lire la réponse sur cette page. Ils ne seront "
            "plus affichés, et personne ne pourra vous les redonner.",
        ),
        "reference": BilingualText("Reference", "Référence"),
        "token": BilingualText("Token", "Jeton"),
        "due": BilingualText("Answer due by", "Réponse au plus tard le"),
        "look_title": BilingualText("Track a request", "Suivre une demande"),
        "look": BilingualText("Show", "Consulter"),
        "withdraw": BilingualText("Withdraw the request", "Retirer la demande"),
        "withdraw_said": BilingualText(
            "A withdrawn request is closed for good. You can make a new one.",
            "Une demande retirée est définitivement close. Vous pourrez en déposer une nouvelle.",
        ),
        "withdraw_confirm": BilingualText("Yes, withdraw it", "Oui, la retirer"),
        "state": BilingualText("State", "État"),
        "received": BilingualText("Received on", "Reçue le"),
        "closed": BilingualText("Closed on", "Close le"),
        "extension": BilingualText("Why it takes longer", "Motif de la prolongation"),
        "outcome": BilingualText("Outcome", "Suite donnée"),
        "answer": BilingualText("Answer", "Réponse"),
        "back": BilingualText("Back to the register", "Retour au registre"),
        "rights": BilingualText(
            "If you are not satisfied, you can complain to your data-protection authority.",
            "Si la réponse ne vous satisfait pas, vous pouvez saisir l'autorité de protection des données "
            "(en France, la CNIL).",
        ),
        "retention": BilingualText(
            "Only the people who handle the request read your text. It is removed {days} days after the "
            "request is closed.",
            "Votre texte n'est lu que par les personnes qui traitent la demande. Il est supprimé {days} "
            "jours après sa clôture.",
        ),
        "wrong": BilingualText("That did not work", "La demande n'a pas abouti"),
    }
)

KINDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "access": BilingualText(
            "Find out what data are stored (access)", "Savoir quelles données sont conservées (accès)"
        ),
        "objection": BilingualText(
            "Object to the processing (objection)", "M'opposer au traitement (opposition)"
        ),
        "erasure": BilingualText("Have data erased (erasure)", "Faire effacer des données (effacement)"),
        "rectification": BilingualText(
            "Have data corrected (rectification)", "Faire corriger des données (rectification)"
        ),
        "restriction": BilingualText(
            "Have data stored but not used (restriction)",
            "Faire conserver des données sans qu'elles soient utilisées (limitation)",
        ),
        "question": BilingualText("Something else: a question", "Autre chose : une question"),
    }
)

STATES: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "received": BilingualText("Received", "Reçue"),
        "in_progress": BilingualText("Being worked on", "En cours"),
        "answered": BilingualText("Answered", "Réponse donnée"),
        "withdrawn": BilingualText("Withdrawn", "Retirée"),
    }
)

OUTCOMES: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "granted": BilingualText("Granted", "Acceptée"),
        "partly_granted": BilingualText("Granted in part", "Acceptée en partie"),
        "refused": BilingualText("Refused", "Refusée"),
        "nothing_held": BilingualText("No data are stored", "Aucune donnée n'est conservée"),
    }
)

FAULTS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "invalid_text": BilingualText(
            "Write something; some characters are not accepted.",
            "Écrivez quelque chose ; certains caractères ne sont pas admis.",
        ),
        "text_too_long": BilingualText("The text is too long.", "Le texte est trop long."),
        "range_reversed": BilingualText(
            "The end must be after the beginning.", "La fin doit venir après le début."
        ),
        "not_found": BilingualText(
            "There is no such request or place, or the token does not fit it.",
            "Cette demande ou ce lieu n'existe pas, ou le jeton ne correspond pas.",
        ),
        "request_closed": BilingualText("The request is already closed.", "La demande est déjà close."),
        "too_many_attempts": BilingualText(
            "There were too many tries from your address: come back in an hour.",
            "Trop d'essais depuis votre adresse : revenez dans une heure.",
        ),
        "forbidden_content": BilingualText(
            "Pictures, sound and long codes are not accepted: use words.",
            "Les images, les sons et les longs codes ne sont pas admis : écrivez avec des mots.",
        ),
        "": BilingualText("Check your input, and try again.", "Relisez votre saisie, puis réessayez."),
    }
)
"""Messages for refused forms, by error code; `""` is the message for all other codes."""
