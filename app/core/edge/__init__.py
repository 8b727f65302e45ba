"""The edge of the REST role: what happens to a request before any route, and to an answer after it.

Small ASGI middlewares, put together in `install`. None may read a body, ask the database, or know a route.
"""
