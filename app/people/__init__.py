"""People: who they are, what they may do in which organisation, how they sign in."""
