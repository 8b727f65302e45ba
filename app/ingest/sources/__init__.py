"""Receives messages from an MQTT broker behind one interface (`message_source`)."""
