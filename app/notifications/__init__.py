"""Delivers events to webhooks, e-mail, MQTT, chats and the event stream."""
