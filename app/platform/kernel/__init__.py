"""Holds the small types that everything imports: errors, ids, instants, rejection codes, tenant scope."""
