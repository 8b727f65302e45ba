"""Sources of messages, behind one interface: see ``base``."""
