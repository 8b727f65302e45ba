"""Decodes formats other than Vigie's own JSON: one file and one entry in `adapter_registry` each. Pure."""
