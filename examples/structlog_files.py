"""Write NDJSON with structlog into the directory that MikroScope reads.

    pip install structlog
    MIKROSCOPE_LOGS_PATH=./logs python structlog_files.py

No record is lost while MikroScope is down: it reads the file when it starts again.
"""

import os
from pathlib import Path

import structlog

path = Path(os.environ.get("MIKROSCOPE_LOGS_PATH", "./logs")) / "shop" / "app.ndjson"
path.parent.mkdir(parents=True, exist_ok=True)

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.WriteLoggerFactory(file=path.open("a", encoding="utf-8")),
)

logger = structlog.get_logger(service="shop")
structlog.contextvars.bind_contextvars(correlationId="req-1")

logger.info("order.created", orderId="ORD-123", amount=19.9)

try:
    raise TimeoutError("the bank did not answer")
except TimeoutError:
    logger.exception("payment.failed", orderId="ORD-123")
