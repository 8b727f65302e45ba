"""What every room stands on: settings, database, errors, keys, time. Imports nothing of the app."""
