"""Wraps every request in small ASGI layers, in the order of `middleware_order`.

No layer reads a body, queries the database or knows a route.
"""
