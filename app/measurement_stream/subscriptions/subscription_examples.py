"""Lists examples of subscriptions for the API documentation, one for each kind of sink."""

from typing import Final

from fastapi.openapi.models import Example

EXAMPLES: Final[dict[str, Example]] = {
    "webhook": {
        "summary": "A webhook",
        "value": {
            "name": "Open data portal",
            "sink": {"kind": "webhook", "url": "https://example.com/hooks/measurements"},
            "format": "json",
            "gzip": True,
        },
    },
    "mqtt": {
        "summary": "MQTT, at Vigie's own broker",
        "value": {"name": "Control room", "sink": {"kind": "mqtt"}, "format": "senml"},
    },
    "postgresql": {
        "summary": "A table of PostgreSQL",
        "value": {
            "name": "City database",
            "sink": {
                "kind": "postgresql",
                "server": "db.example.com:5432",
                "database": "city",
                "username": "vigie",
                "password": "example",
            },
            "batch": {"size": 2000, "max_age": "PT10S"},
        },
    },
    "influxdb": {
        "summary": "InfluxDB's line protocol",
        "value": {
            "name": "Grafana",
            "sink": {
                "kind": "influxdb",
                "url": "https://influx.example.com/api/v2/write?org=city&bucket=air",
                "token": "example",
            },
            "gzip": True,
        },
    },
    "nats": {
        "summary": "NATS JetStream",
        "value": {
            "name": "City bus",
            "sink": {
                "kind": "nats",
                "server": "nats.example.com:4222",
                "subject": "city.air",
                "username": "vigie",
                "password": "example",
            },
        },
    },
    "rabbitmq": {
        "summary": "RabbitMQ",
        "value": {
            "name": "Work queue",
            "sink": {
                "kind": "rabbitmq",
                "server": "rabbit.example.com:5671",
                "exchange": "measurements",
                "username": "vigie",
                "password": "example",
            },
            "format": "cloudevents",
        },
    },
    "kafka": {
        "summary": "Kafka",
        "value": {
            "name": "Data platform",
            "sink": {
                "kind": "kafka",
                "servers": ["kafka.example.com:9093"],
                "topic": "measurements",
                "username": "vigie",
                "password": "example",
            },
        },
    },
    "prometheus": {
        "summary": "Prometheus remote write",
        "value": {
            "name": "Latest values",
            "sink": {
                "kind": "prometheus",
                "url": "https://prometheus.example.com/api/v1/write",
                "token": "example",
            },
        },
    },
}
"""Examples for Swagger UI: one for each kind of sink."""
