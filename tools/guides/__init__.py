"""Builds the guides: a website of `docs/`, the root's Markdown files and the reference of the API."""
