"""The operators' console: pages below `/console` for people who signed in.

Every page reads and changes data by calls of the public API in the same process (`api_calls.py`), as the
person who signed in. Tenant scopes, validation, errors and the audit log are therefore those of the API.
"""
