"""Manages people, their memberships and roles, invitations, and sign-in by password or OpenID Connect."""
