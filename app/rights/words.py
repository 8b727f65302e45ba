"""What the pages of requests say, in English and French. Data only."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Said(NamedTuple):
    """The same in both languages."""

    en: str
    fr: str


WORDS: Final[Mapping[str, Said]] = MappingProxyType(
    {
        "title": Said("Use a right", "Exercer un droit"),
        "lead": Said(
            "Ask what is held, object to it, or have it erased or corrected. You need no account, and need not "
            "say who you are. Who answers for the place has one month.",
            "Demandez ce qui est conservé, opposez-vous, faites effacer ou corriger. Il ne faut ni compte ni "
            "identité. La personne responsable du lieu a un mois pour répondre.",
        ),
        "about": Said("What it is about", "Ce dont il s'agit"),
        "site": Said("Place", "Lieu"),
        "no_site": Said("No place in particular", "Aucun lieu en particulier"),
        "kind": Said("What you ask for", "Votre demande"),
        "message": Said("Your request", "Votre demande, en vos mots"),
        "message_hint": Said(
            "Where and when it was, as well as you know. Do not write of others.",
            "Le lieu et le moment, aussi bien que vous les connaissez. N'y parlez pas d'autrui.",
        ),
        "time": Said("Time, if it is about one", "Moment, s'il y en a un"),
        "begins_at": Said("From", "De"),
        "ends_at": Said("To", "À"),
        "time_hint": Said(
            "By the clock of the place; without a place, by universal time (UTC).",
            "À l'heure du lieu ; sans lieu, en temps universel (UTC).",
        ),
        "you": Said("You, if you like", "Vous, si vous le souhaitez"),
        "name": Said("Name", "Nom"),
        "contact": Said("E-mail or postal address", "Adresse électronique ou postale"),
        "optional": Said("optional", "facultatif"),
        "send": Said("Send the request", "Envoyer la demande"),
        "made": Said("Your request was taken", "Votre demande est enregistrée"),
        "keep": Said(
            "Keep these two: with them you read the answer, on this page. They are not shown again, and nobody "
            "can give them to you anew.",
            "Gardez ces deux lignes : elles ouvrent la réponse, sur cette page. Elles ne seront plus affichées, "
            "et personne ne peut vous les redonner.",
        ),
        "reference": Said("Reference", "Référence"),
        "token": Said("Token", "Jeton"),
        "due": Said("Answer due by", "Réponse due le"),
        "look_title": Said("See how far a request is", "Suivre une demande"),
        "look": Said("Look", "Consulter"),
        "withdraw": Said("Withdraw the request", "Retirer la demande"),
        "state": Said("State", "État"),
        "received": Said("Received on", "Reçue le"),
        "closed": Said("Ended on", "Close le"),
        "extension": Said("Why it takes longer", "Motif du délai"),
        "outcome": Said("Outcome", "Suite donnée"),
        "answer": Said("Answer", "Réponse"),
        "back": Said("Back to the register", "Retour au registre"),
        "rights": Said(
            "If you are not satisfied, you can complain to your data-protection authority.",
            "Si la réponse ne vous satisfait pas, vous pouvez saisir l'autorité de protection des données "
            "(en France, la CNIL).",
        ),
        "kept": Said(
            "What you write is read by who answers alone, and removed {days} days after the end of the request.",
            "Ce que vous écrivez n'est lu que par qui vous répond, et supprimé {days} jours après la fin de la "
            "demande.",
        ),
        "wrong": Said("This could not be taken", "La demande n'a pas pu être prise"),
    }
)

KINDS: Final[Mapping[str, Said]] = MappingProxyType(
    {
        "access": Said("Know what is held (access)", "Savoir ce qui est conservé (accès)"),
        "objection": Said("That it end (objection)", "Que cela cesse (opposition)"),
        "erasure": Said("That it be erased", "L'effacement"),
        "rectification": Said("That it be corrected", "La rectification"),
        "restriction": Said("That it be kept and not used (restriction)", "La limitation de l'usage"),
        "question": Said("Something else: a question", "Autre chose : une question"),
    }
)

STATES: Final[Mapping[str, Said]] = MappingProxyType(
    {
        "received": Said("Received", "Reçue"),
        "in_progress": Said("Being worked on", "En cours"),
        "answered": Said("Answered", "Répondue"),
        "withdrawn": Said("Withdrawn", "Retirée"),
    }
)

OUTCOMES: Final[Mapping[str, Said]] = MappingProxyType(
    {
        "granted": Said("Granted", "Acceptée"),
        "partly_granted": Said("Granted in part", "Acceptée en partie"),
        "refused": Said("Refused", "Refusée"),
        "nothing_held": Said("Nothing is held", "Rien n'est conservé"),
    }
)

FAULTS: Final[Mapping[str, Said]] = MappingProxyType(
    {
        "invalid_text": Said(
            "Write something; some characters cannot be taken.",
            "Écrivez quelque chose ; certains caractères ne sont pas admis.",
        ),
        "text_too_long": Said("The text is too long.", "Le texte est trop long."),
        "range_reversed": Said(
            "The end has to come after the beginning.", "La fin doit venir après le début."
        ),
        "not_found": Said(
            "There is no such request or place, or the token is another one's.",
            "Cette demande ou ce lieu n'existe pas, ou le jeton n'est pas le sien.",
        ),
        "request_closed": Said(
            "The request was answered or withdrawn before.", "La demande est déjà close."
        ),
        "too_many_attempts": Said(
            "There were too many tries from your address: come back in an hour.",
            "Trop d'essais depuis votre adresse : revenez dans une heure.",
        ),
        "forbidden_content": Said(
            "Pictures, sound and long codes cannot be taken: use words.",
            "Ni images, ni sons, ni longs codes : écrivez avec des mots.",
        ),
        "": Said("Look at what you wrote, and try again.", "Relisez votre saisie, puis réessayez."),
    }
)
"""What people are told of a refusal, by its code; the last one of any other."""
