"""Completes the OpenAPI document and serves Swagger UI."""
