"""Settings of the installation that its administrators make by the API."""
