"""Exports an organisation with everything that belongs to it, and imports such an archive elsewhere."""
