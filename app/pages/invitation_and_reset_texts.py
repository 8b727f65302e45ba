"""Holds the texts of the pages of invitations and password resets, in English and French."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.pages.link_texts import LINK_FAULTS, LINK_WORDS
from app.people.password_rules import PASSWORD_MIN_LENGTH
from app.presentation.translation import BilingualText, translated

WORDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        **LINK_WORDS,
        "enter_lead": translated("Paste the link that you were given, or its code (vgi_… or vgr_…)."),
        # An invitation.
        "invitation_title": translated("{organisation} invites you"),
        "invitation_lead": translated(
            "{inviter} invites you to join {organisation} on Vigie. You are a member once you accept below."
        ),
        "organisation": translated("Organisation"),
        "role": translated("Your role"),
        "sites": translated("Sites"),
        "all_sites": translated("all sites of the organisation"),
        "address": translated("Your address"),
        "inviter": translated("Invited by"),
        "open_until": translated("Open until"),
        "open_until_value": translated("{day}, {clock} (UTC)"),
        "not_expected": translated(
            "If you did not expect this, close the page: nothing happens until you accept."
        ),
        "new_title": translated("Accept with a new account"),
        "known_title": translated("I have an account with this address"),
        "known_lead": translated(
            "Use one account for all your organisations: enter its current password, and choose another one. "
            "You will be signed out everywhere."
        ),
        "provider": translated("Accept, and sign in with {provider}"),
        "provider_title": translated("Continue at {provider}"),
        "provider_go": translated("Go to {provider}"),
        "name": translated("Your name"),
        "password": translated("New password"),
        "current": translated("Current password"),
        "factor": translated("Code of your authenticator app, or a recovery code"),
        "rules": BilingualText(
            f"At least {PASSWORD_MIN_LENGTH} characters. Several words in a row work well.",
            f"Au moins {PASSWORD_MIN_LENGTH} caractères. Quelques mots à la suite conviennent très bien.",
        ),
        "accept": translated("Accept the invitation"),
        # Afterwards.
        "member_title": translated("You are a member of {organisation}"),
        "next": translated("What to do next"),
        "open_console": translated("Sign in to the console"),
        "token_said": translated(
            "You are signed in. This token identifies you. It is shown only here, and expires after some "
            "hours without use:"
        ),
        "try_api": translated(
            "Open the description of the API, press “Authorize”, and paste the token under “ApiKey”."
        ),
        "open_api": translated("Description of the API"),
        "later": translated("To sign in again later, send your address and password to this installation:"),
        "password_here": translated("your password"),
        "guide_people": translated("Guide: signing in, and what each role may do"),
        "guide_all": translated("All guides"),
        # A new password.
        "reset_title": translated("Choose a new password"),
        "reset_lead": translated("For the account {address}. You will be signed out everywhere."),
        "reset_send": translated("Set the password"),
        "reset_done": translated("The password is set"),
        "reset_done_said": translated("Sign in with your address and the new password."),
    }
)

ROLES: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "owner": translated("Owner: decides on members, API keys and everything else"),
        "operator": translated("Operator: works with sites, boxes, rules, alerts and webhooks"),
        "viewer": translated("Viewer: reads, and changes nothing"),
        "installer": translated("Installer: puts boxes into service"),
    }
)

ENDED: Final[Mapping[str, tuple[BilingualText, BilingualText]]] = MappingProxyType(
    {
        "accepted": (
            translated("This invitation was accepted already"),
            translated(
                "Each invitation can be used once. If you accepted it, sign in with your address and "
                "password. If you did not, inform the person who invited you."
            ),
        ),
        "expired": (
            translated("This invitation has expired"),
            translated("Ask for another one."),
        ),
        "revoked": (
            translated("This invitation was withdrawn"),
            translated(
                "A newer invitation may have replaced it: use the newest link that you were given, or ask "
                "for another one."
            ),
        ),
        "": (
            translated("This link is not valid"),
            translated(
                "It may be incomplete: copy all of it. A link for a new password works once, for a limited "
                "time. If in doubt, ask for another one."
            ),
        ),
    }
)

FAULTS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        **LINK_FAULTS,
        "wrong_credentials": translated("There is no account with this address and this password."),
        "name_and_password_needed": translated("Enter your name and a password."),
        "second_factor_code_needed": translated(
            "Your account has a second factor. Enter its code and both passwords."
        ),
        "wrong_second_factor": translated("The code is wrong, or was used already. Enter another one."),
        "passwords_needed": translated("Enter the current password and a new one."),
        "password_too_short": translated("The password is too short."),
        "password_too_long": translated("The password is too long."),
        "password_too_common": translated("This password is too common. Choose another one."),
        "password_about_you": translated("The password contains your name or address. Choose another one."),
        "password_unchanged": translated(
            "The new password is the same as the current one. Choose another one."
        ),
        "account_exists": translated(
            "This is the password of your existing account. Accept with that account below, and choose "
            "another password."
        ),
        "account_disabled": translated("This account may not sign in. Contact the person who invited you."),
        "already_member": translated(
            "This address already belongs to a member. Sign in with your address and password."
        ),
    }
)
