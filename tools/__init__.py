"""Programs for those who work on Vigie."""
