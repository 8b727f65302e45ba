"""Holds the texts of the pages of invitations and password resets, in English and French."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.indicators.index_results import BilingualText
from app.people.password_rules import PASSWORD_MIN_LENGTH

WORDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        # The link, where no script took it out of the address.
        "enter_title": BilingualText("Use your link", "Utiliser votre lien"),
        "enter_lead": BilingualText(
            "Paste the link that you were given, or its code (vgi_… or vgr_…).",
            "Collez le lien que vous avez reçu, ou son code (vgi_… ou vgr_…).",
        ),
        "enter_label": BilingualText("Link or code", "Lien ou code"),
        "enter_send": BilingualText("Continue", "Continuer"),
        # An invitation.
        "invitation_title": BilingualText("{organisation} invites you", "{organisation} vous invite"),
        "invitation_lead": BilingualText(
            "{inviter} invites you to join {organisation} on Vigie. You are a member once you accept below.",
            "{inviter} vous invite à rejoindre {organisation} sur Vigie. Vous en serez membre après avoir "
            "accepté ci-dessous.",
        ),
        "organisation": BilingualText("Organisation", "Organisation"),
        "role": BilingualText("Your role", "Votre rôle"),
        "sites": BilingualText("Sites", "Sites"),
        "all_sites": BilingualText("all sites of the organisation", "tous les sites de l'organisation"),
        "address": BilingualText("Your address", "Votre adresse"),
        "inviter": BilingualText("Invited by", "Invité par"),
        "open_until": BilingualText("Open until", "Valable jusqu'au"),
        "open_until_value": BilingualText("{day}, {clock} (UTC)", "{day} à {clock} (UTC)"),
        "not_expected": BilingualText(
            "If you did not expect this, close the page: nothing happens until you accept.",
            "Si vous n'attendiez pas cette invitation, fermez la page : rien ne se passe tant que vous "
            "n'avez pas accepté.",
        ),
        "new_title": BilingualText("Accept with a new account", "Accepter avec un nouveau compte"),
        "known_title": BilingualText(
            "I have an account with this address", "J'ai déjà un compte à cette adresse"
        ),
        "known_lead": BilingualText(
            "Use one account for all your organisations: enter its current password, and choose another one. "
            "You will be signed out everywhere.",
            "Gardez un seul compte pour toutes vos organisations : indiquez son mot de passe actuel et "
            "choisissez-en un autre. Vous serez déconnecté(e) partout.",
        ),
        "provider": BilingualText(
            "Accept, and sign in with {provider}", "Accepter et se connecter avec {provider}"
        ),
        "provider_title": BilingualText("Continue at {provider}", "Continuer chez {provider}"),
        "provider_go": BilingualText("Go to {provider}", "Aller chez {provider}"),
        "name": BilingualText("Your name", "Votre nom"),
        "password": BilingualText("New password", "Nouveau mot de passe"),
        "current": BilingualText("Current password", "Mot de passe actuel"),
        "rules": BilingualText(
            f"At least {PASSWORD_MIN_LENGTH} characters. Several words in a row work well.",
            f"Au moins {PASSWORD_MIN_LENGTH} caractères. Quelques mots à la suite conviennent très bien.",
        ),
        "accept": BilingualText("Accept the invitation", "Accepter l'invitation"),
        # Afterwards.
        "member_title": BilingualText(
            "You are a member of {organisation}", "Vous êtes membre de {organisation}"
        ),
        "next": BilingualText("What to do next", "Et maintenant"),
        "token_said": BilingualText(
            "You are signed in. This token identifies you. It is shown only here, and expires after some "
            "hours without use:",
            "Vous êtes connecté(e). Ce jeton vous identifie ; il n'est affiché qu'ici et expire après "
            "quelques heures sans utilisation :",
        ),
        "try_api": BilingualText(
            "Open the description of the API, press “Authorize”, and paste the token under “ApiKey”.",
            "Ouvrez la description de l'API, cliquez sur « Authorize » et collez le jeton sous « ApiKey ».",
        ),
        "open_api": BilingualText("Description of the API", "Description de l'API (en anglais)"),
        "later": BilingualText(
            "To sign in again later, send your address and password to this installation:",
            "Pour vous reconnecter plus tard, envoyez votre adresse et votre mot de passe à cette "
            "installation :",
        ),
        "password_here": BilingualText("your password", "votre mot de passe"),
        "guide_people": BilingualText(
            "Guide: signing in, and what each role may do", "Guide : connexion et rôles (en anglais)"
        ),
        "guide_all": BilingualText("All guides", "Tous les guides (en anglais)"),
        # A new password.
        "reset_title": BilingualText("Choose a new password", "Choisir un nouveau mot de passe"),
        "reset_lead": BilingualText(
            "For the account {address}. You will be signed out everywhere.",
            "Pour le compte {address}. Vous serez déconnecté(e) partout.",
        ),
        "reset_send": BilingualText("Set the password", "Enregistrer le mot de passe"),
        "reset_done": BilingualText("The password is set", "Le mot de passe est enregistré"),
        "reset_done_said": BilingualText(
            "Sign in with your address and the new password.",
            "Connectez-vous avec votre adresse et le nouveau mot de passe.",
        ),
        "wrong": BilingualText("This did not work.", "Cela n'a pas fonctionné."),
        "other_language": BilingualText("Français", "English"),
        "menu": BilingualText("Language", "Langue"),
    }
)

ROLES: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "owner": BilingualText(
            "Owner: decides on members, API keys and everything else",
            "Propriétaire : décide des membres, des clés d'API et de tout le reste",
        ),
        "operator": BilingualText(
            "Operator: works with sites, boxes, rules, alerts and webhooks",
            "Opérateur : gère les sites, les boîtiers, les règles, les alertes et les webhooks",
        ),
        "viewer": BilingualText(
            "Viewer: reads, and changes nothing", "Lecteur : consulte sans rien modifier"
        ),
        "installer": BilingualText(
            "Installer: puts boxes into service", "Installateur : met les boîtiers en service"
        ),
    }
)

ENDED: Final[Mapping[str, tuple[BilingualText, BilingualText]]] = MappingProxyType(
    {
        "accepted": (
            BilingualText("This invitation was accepted already", "Cette invitation a déjà été acceptée"),
            BilingualText(
                "Each invitation can be used once. If you accepted it, sign in with your address and "
                "password. If you did not, inform the person who invited you.",
                "Une invitation ne sert qu'une fois. Si vous l'avez acceptée, connectez-vous avec votre "
                "adresse et votre mot de passe. Sinon, prévenez la personne qui vous a invité(e).",
            ),
        ),
        "expired": (
            BilingualText("This invitation has expired", "Cette invitation a expiré"),
            BilingualText("Ask for another one.", "Demandez-en une autre."),
        ),
        "revoked": (
            BilingualText("This invitation was withdrawn", "Cette invitation a été retirée"),
            BilingualText(
                "A newer invitation may have replaced it: use the newest link that you were given, or ask "
                "for another one.",
                "Une invitation plus récente l'a peut-être remplacée : utilisez le dernier lien reçu, ou "
                "demandez-en un autre.",
            ),
        ),
        "": (
            BilingualText("This link is not valid", "Ce lien n'est pas valable"),
            BilingualText(
                "It may be incomplete: copy all of it. A link for a new password works once, for a limited "
                "time. If in doubt, ask for another one.",
                "Il est peut-être incomplet : copiez-le en entier. Un lien de nouveau mot de passe ne sert "
                "qu'une fois, pendant un temps limité. Dans le doute, demandez-en un autre.",
            ),
        ),
    }
)

FAULTS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "wrong_credentials": BilingualText(
            "There is no account with this address and this password.",
            "Il n'y a pas de compte à cette adresse avec ce mot de passe.",
        ),
        "name_and_password_needed": BilingualText(
            "Enter your name and a password.", "Indiquez votre nom et un mot de passe."
        ),
        "passwords_needed": BilingualText(
            "Enter the current password and a new one.", "Indiquez le mot de passe actuel et un nouveau."
        ),
        "password_too_short": BilingualText("The password is too short.", "Le mot de passe est trop court."),
        "password_too_long": BilingualText("The password is too long.", "Le mot de passe est trop long."),
        "password_too_common": BilingualText(
            "This password is too common. Choose another one.",
            "Ce mot de passe est de ceux que l'on essaie en premier. Choisissez-en un autre.",
        ),
        "password_about_you": BilingualText(
            "The password contains your name or address. Choose another one.",
            "Le mot de passe est tiré de votre nom ou de votre adresse. Choisissez-en un autre.",
        ),
        "password_unchanged": BilingualText(
            "The new password is the same as the current one. Choose another one.",
            "C'est le mot de passe actuel. Choisissez-en un autre.",
        ),
        "account_exists": BilingualText(
            "This is the password of your existing account. Accept with that account below, and choose "
            "another password.",
            "C'est le mot de passe d'un compte que vous avez déjà. Acceptez avec ce compte ci-dessous et "
            "choisissez un autre mot de passe.",
        ),
        "account_disabled": BilingualText(
            "This account may not sign in. Contact the person who invited you.",
            "Ce compte ne peut pas se connecter. Adressez-vous à la personne qui vous a invité(e).",
        ),
        "already_member": BilingualText(
            "This address already belongs to a member. Sign in with your address and password.",
            "Cette adresse appartient déjà à un membre. Connectez-vous avec votre adresse et votre mot de "
            "passe.",
        ),
        "too_many_attempts": BilingualText(
            "There were too many attempts. Wait some minutes, then try again.",
            "Il y a eu trop de tentatives. Attendez quelques minutes, puis réessayez.",
        ),
        "foreign_form": BilingualText(
            "Another site's page sent this form. Open your link again.",
            "Ce formulaire vient d'un autre site. Rouvrez votre lien.",
        ),
        "busy": BilingualText(
            "Vigie cannot answer now. Wait a little, then try again.",
            "Vigie ne peut pas répondre pour l'instant. Patientez un peu, puis réessayez.",
        ),
        "": BilingualText(
            "A field is not accepted as it is. Check your input.",
            "Un champ ne peut pas être accepté tel quel. Vérifiez votre saisie.",
        ),
    }
)
