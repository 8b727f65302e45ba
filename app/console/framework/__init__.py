"""Serves the requests of the console: visits, forms, calls of the public API, and the rendering of pages."""
