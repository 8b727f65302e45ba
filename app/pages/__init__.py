"""Pages for people outside the public register: guides, invitations, error pages, icons."""
