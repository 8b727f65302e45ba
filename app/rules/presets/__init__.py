"""Offers ready-made rules, each with the citation of its threshold."""
