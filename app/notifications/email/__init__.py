"""Renders events as mails and sends them by SMTP."""
