"""Sentences on events and rules, in English and French. Pure: no database, no clock, no I/O.

`event_sentence` says what happened in one line, `rule_sentence` says when a rule fires.
"""

from app.notifications.sentences.event_sentences import SENTENCES, condition_node, event_sentence
from app.notifications.sentences.rule_sentences import rule_sentence

__all__ = ("SENTENCES", "condition_node", "event_sentence", "rule_sentence")
