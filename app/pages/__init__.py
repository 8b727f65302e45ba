"""Pages for people outside the public register: guides, invitations, refusals, icons."""
