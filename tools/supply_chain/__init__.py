"""The list of components, their licences, and statements on vulnerabilities."""
