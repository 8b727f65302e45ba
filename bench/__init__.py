"""`make bench`: Vigie's ingest beside others, measured side by side in one run, on real services of its own.

It measures from outside: processes, MQTT, REST, SQL. It changes no setting of what it measures.
"""
