"""Send structlog's records over HTTP with MikroScope's handler for Python's logging.

    pip install mikroscope structlog
    MIKROSCOPE_URL=http://127.0.0.1:4310 MIKROSCOPE_TOKEN=backend-token python structlog_handler.py

`wrap_for_formatter` passes structlog's dict to `logging` as the message; the handler uses such a
dict as the record. Time and level need no processor: the handler adds them.
"""

import logging
import os

import structlog

from mikroscope.logging import MikroScopeHandler

sidecar = MikroScopeHandler(
    os.environ.get("MIKROSCOPE_URL", "http://127.0.0.1:4310"),
    token=os.environ.get("MIKROSCOPE_TOKEN", "backend-token"),
    fields={"service": "shop"},
)
logging.basicConfig(level=logging.INFO, handlers=[sidecar])

structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)

logger = structlog.get_logger("shop.orders")
structlog.contextvars.bind_contextvars(correlationId="req-1")

logger.info("order.created", orderId="ORD-123", amount=19.9)

try:
    raise TimeoutError("the bank did not answer")
except TimeoutError:
    logger.exception("payment.failed", orderId="ORD-123")
