"""Writes sentences about events and rules, in English and French. Pure.

`event_sentence` describes an event in one line, `rule_sentence` describes when a rule fires.
"""

from app.notifications.sentences.cause_paths import condition_node, find_condition_part
from app.notifications.sentences.event_sentences import SENTENCES, event_sentence
from app.notifications.sentences.rule_sentences import rule_sentence

__all__ = ("SENTENCES", "condition_node", "event_sentence", "find_condition_part", "rule_sentence")
