"""What is posted to a webhook."""

import msgspec

from mikroscope.alerts.rules import Notification
from mikroscope.records.timestamps import format_time


def payload(notification: Notification, now_ms: int, service_url: str) -> bytes:
    """What is posted to the webhook."""
    return msgspec.json.encode(
        {
            "source": "mikroscope",
            "rule": notification.rule,
            "severity": notification.severity,
            "triggeredAt": format_time(now_ms),
            "serviceUrl": service_url,
            "details": notification.details,
        }
    )
