"""Decodes formats other than Vigie's own JSON: one file and one line of `adapter_registry` each. Pure."""
