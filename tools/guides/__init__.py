"""Builds the guides: a website of `docs/`, the Markdown files of the root, and the API reference."""
