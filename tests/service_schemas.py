"""What each service's documentation says of the messages that it takes, as JSON Schema 2020-12.

Written from the documents that are named; of each as much as Vigie sends, and nothing else is allowed.
"""

from typing import Any, Final

type Schema = dict[str, Any]


def _object(required: list[str], properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def _text(limit: int, least: int = 1) -> Schema:
    return {"type": "string", "minLength": least, "maxLength": limit}


def _plain(limit: int) -> Schema:
    return _object(
        ["type", "text"],
        {"type": {"const": "plain_text"}, "text": _text(limit), "emoji": {"type": "boolean"}},
    )


_URL: Final[Schema] = {"type": "string", "pattern": "^https?://[^ ]+$"}
_INSTANT: Final[Schema] = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
}

SLACK: Final[Schema] = _object(
    # docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, …/reference/block-kit/blocks
    ["text", "blocks"],
    {
        "text": _text(40_000),
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "oneOf": [
                    _object(["type", "text"], {"type": {"const": "header"}, "text": _plain(150)}),
                    _object(["type", "text"], {"type": {"const": "section"}, "text": _plain(3000)}),
                    _object(
                        ["type", "fields"],
                        {
                            "type": {"const": "section"},
                            "fields": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 10,
                                "items": _plain(2000),
                            },
                        },
                    ),
                    _object(
                        ["type", "elements"],
                        {
                            "type": {"const": "context"},
                            "elements": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 10,
                                "items": _object(
                                    ["type", "text"], {"type": {"const": "mrkdwn"}, "text": _text(3000)}
                                ),
                            },
                        },
                    ),
                ]
            },
        },
    },
)

_RUN: Final = _object(
    ["type", "text"],
    {
        "type": {"const": "TextRun"},
        "text": {"type": "string"},
        "weight": {"enum": ["Default", "Lighter", "Bolder"]},
        "size": {"enum": ["Default", "Small", "Medium", "Large", "ExtraLarge"]},
        "color": {"enum": ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]},
        "isSubtle": {"type": "boolean"},
    },
)
TEAMS: Final[Schema] = _object(
    # learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors, adaptivecards.io/explorer (1.5)
    ["type", "attachments"],
    {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": _object(
                ["contentType", "content"],
                {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": "null"},
                    "content": _object(
                        ["type", "version", "body"],
                        {
                            "$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
                            "type": {"const": "AdaptiveCard"},
                            "version": {"enum": ["1.2", "1.3", "1.4", "1.5"]},
                            "fallbackText": {"type": "string"},
                            "body": {
                                "type": "array",
                                "minItems": 1,
                                "items": _object(
                                    ["type", "inlines"],
                                    {
                                        "type": {"const": "RichTextBlock"},
                                        "inlines": {"type": "array", "minItems": 1, "items": _RUN},
                                    },
                                ),
                            },
                            "actions": {
                                "type": "array",
                                "maxItems": 6,
                                "items": _object(
                                    ["type", "url"],
                                    {
                                        "type": {"const": "Action.OpenUrl"},
                                        "title": {"type": "string"},
                                        "url": _URL,
                                    },
                                ),
                            },
                            "msteams": _object(["width"], {"width": {"const": "Full"}}),
                        },
                    ),
                },
            ),
        },
    },
)

DISCORD: Final[Schema] = _object(
    # docs.discord.com/developers/resources/webhook#execute-webhook, …/resources/message#embed-object
    ["embeds"],
    {
        "allowed_mentions": _object(["parse"], {"parse": {"type": "array", "maxItems": 0}}),
        "embeds": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10,
            "items": _object(
                [],
                {
                    "title": _text(256),
                    "description": _text(4096),
                    "url": _URL,
                    "color": {"type": "integer", "minimum": 0, "maximum": 0xFFFFFF},
                    "timestamp": _INSTANT,
                    "fields": {
                        "type": "array",
                        "maxItems": 25,
                        "items": _object(
                            ["name", "value"],
                            {"name": _text(256), "value": _text(1024), "inline": {"type": "boolean"}},
                        ),
                    },
                },
            ),
        },
    },
)

_KEY: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9]{32}$"}
_TRIGGER: Final = _object(
    ["routing_key", "event_action", "payload"],
    {
        "routing_key": _KEY,
        "event_action": {"const": "trigger"},
        "dedup_key": _text(255),
        "client": {"type": "string"},
        "client_url": _URL,
        "links": {
            "type": "array",
            "items": _object(["href"], {"href": _URL, "text": {"type": "string"}}),
        },
        "payload": _object(
            ["summary", "source", "severity"],
            {
                "summary": _text(1024),
                "source": _text(1024),
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": _INSTANT,
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
        ),
    },
)
PAGERDUTY: Final[Schema] = {
    # developer.pagerduty.com/docs/send-alert-event
    "oneOf": [
        _TRIGGER,
        _object(
            ["routing_key", "event_action", "dedup_key"],
            {
                "routing_key": _KEY,
                "event_action": {"enum": ["acknowledge", "resolve"]},
                "dedup_key": _text(255),
            },
        ),
    ]
}

NTFY: Final[Schema] = _object(
    # docs.ntfy.sh/publish/#publish-as-json
    ["topic"],
    {
        "topic": {"type": "string", "pattern": "^[-_A-Za-z0-9]{1,64}$"},
        "title": {"type": "string"},
        "message": {"type": "string"},
        "priority": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string"}},
        "click": _URL,
    },
)

_LABELS: Final[Schema] = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
    "additionalProperties": {"type": "string"},
}
ALERTMANAGER: Final[Schema] = {
    # github.com/prometheus/alertmanager, api/v2/openapi.yaml: postableAlerts
    "type": "array",
    "items": _object(
        ["labels"],
        {
            "labels": {**_LABELS, "minProperties": 1},
            "annotations": _LABELS,
            "startsAt": _INSTANT,
            "endsAt": _INSTANT,
            "generatorURL": _URL,
        },
    ),
}

SCHEMAS: Final[dict[str, Schema]] = {
    "slack": SLACK,
    "teams": TEAMS,
    "discord": DISCORD,
    "pagerduty": PAGERDUTY,
    "ntfy": NTFY,
    "alertmanager": ALERTMANAGER,
}
"""By the kind of channel."""
