"""Serves the sign-in, the second factors and the account of a person."""
