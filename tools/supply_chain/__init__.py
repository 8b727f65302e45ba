"""Writes the list of components, checks their licences, and writes statements on vulnerabilities."""
