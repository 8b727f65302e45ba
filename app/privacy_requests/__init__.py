"""People's rights: requests for access, objections and the like, from anybody, and how they are handled."""
