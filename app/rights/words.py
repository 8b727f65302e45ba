"""What the pages of requests say, in English and French. Data only."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.city.results import Text

WORDS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "title": Text("Exercise a right", "Exercer un droit"),
        "lead": Text(
            "Ask what is held, object to it, or have it erased or corrected. You need no account, and need "
            "not say who you are. Who answers for the place has one month.",
            "Demandez ce qui est conservé, opposez-vous, faites effacer ou corriger. Il ne faut pas de "
            "compte, et vous n'avez pas à dire qui vous êtes. Le responsable du lieu a un mois pour "
            "répondre.",
        ),
        "about": Text("What it is about", "Objet de la demande"),
        "site": Text("Place", "Lieu"),
        "no_site": Text("No place in particular", "Aucun lieu en particulier"),
        "kind": Text("What you ask for", "Ce que vous demandez"),
        "message": Text("Your request", "Votre demande, avec vos mots"),
        "message_hint": Text(
            "Where and when it was, as well as you know. Do not write of others.",
            "Précisez le lieu et le moment, autant que vous le pouvez. N'y parlez pas d'autres personnes.",
        ),
        "time": Text("Time, if it is about one", "Période, s'il y en a une"),
        "begins_at": Text("From", "Du"),
        "ends_at": Text("To", "Au"),
        "time_hint": Text(
            "By the clock of the place; without a place, by universal time (UTC).",
            "À l'heure du lieu ; si aucun lieu n'est choisi, en temps universel (UTC).",
        ),
        "you": Text("You, if you like", "Vous, si vous le souhaitez"),
        "name": Text("Name", "Nom"),
        "contact": Text("E-mail or postal address", "Adresse électronique ou postale"),
        "optional": Text("optional", "facultatif"),
        "send": Text("Send the request", "Envoyer la demande"),
        "made": Text("Your request was taken", "Votre demande est enregistrée"),
        "keep": Text(
            "Keep these two: with them you read the answer, on this page. They are not shown again, and "
            "nobody can give them to you anew.",
            "Gardez ces deux codes : ils vous permettront de lire la réponse sur cette page. Ils ne seront "
            "plus affichés, et personne ne pourra vous les redonner.",
        ),
        "reference": Text("Reference", "Référence"),
        "token": Text("Token", "Jeton"),
        "due": Text("Answer due by", "Réponse au plus tard le"),
        "look_title": Text("See how far a request is", "Suivre une demande"),
        "look": Text("Look", "Consulter"),
        "withdraw": Text("Withdraw the request", "Retirer la demande"),
        "state": Text("State", "État"),
        "received": Text("Received on", "Reçue le"),
        "closed": Text("Ended on", "Close le"),
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
            "What you write is read only by those who handle the request, and is removed {days} days after "
            "it has ended.",
            "Ce que vous écrivez n'est lu que par ceux qui traitent la demande, et est supprimé {days} jours "
            "après sa clôture.",
        ),
        "wrong": Text("That did not work", "Cela n'a pas abouti"),
    }
)

KINDS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "access": Text("To know what is held (access)", "Savoir ce qui est conservé (accès)"),
        "objection": Text("That it end (objection)", "Que cela cesse (opposition)"),
        "erasure": Text("That it be erased (erasure)", "Que cela soit effacé (effacement)"),
        "rectification": Text(
            "That it be corrected (rectification)", "Que cela soit corrigé (rectification)"
        ),
        "restriction": Text(
            "That it be kept and not used (restriction)",
            "Que cela soit conservé sans être utilisé (limitation)",
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
        "nothing_held": Text("Nothing is held", "Rien n'est conservé"),
    }
)

FAULTS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "invalid_text": Text(
            "Write something; some characters cannot be taken.",
            "Écrivez quelque chose ; certains caractères ne sont pas admis.",
        ),
        "text_too_long": Text("The text is too long.", "Le texte est trop long."),
        "range_reversed": Text(
            "The end has to come after the beginning.", "La fin doit venir après le début."
        ),
        "not_found": Text(
            "There is no such request or place, or the token does not fit it.",
            "Cette demande ou ce lieu n'existe pas, ou le jeton ne correspond pas.",
        ),
        "request_closed": Text("The request was answered or withdrawn before.", "La demande est déjà close."),
        "too_many_attempts": Text(
            "There were too many tries from your address: come back in an hour.",
            "Trop d'essais depuis votre adresse : revenez dans une heure.",
        ),
        "forbidden_content": Text(
            "Pictures, sound and long codes cannot be taken: use words.",
            "Ni images, ni sons, ni longs codes : écrivez avec des mots.",
        ),
        "": Text("Look at what you wrote, and try again.", "Relisez votre saisie, puis réessayez."),
    }
)
"""What people are told of a refusal, by its code; the last one of any other."""
