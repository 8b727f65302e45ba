"""Sentences on events and rules, in English and French. Pure: no database, no clock, no I/O.

`event_sentence` says what happened in one line, `rule_sentence` says when a rule fires.
"""

from app.webhooks.sentences.events import SENTENCES, condition_node, event_sentence
from app.webhooks.sentences.rules import rule_sentence

__all__ = ("SENTENCES", "condition_node", "event_sentence", "rule_sentence")
