"""Send Python's logging over HTTP with MikroScope's own handler.

    pip install mikroscope
    MIKROSCOPE_URL=http://127.0.0.1:4310 MIKROSCOPE_TOKEN=backend-token python python_logging.py

The handler works in the background; it cannot delay or break the application.
"""

import logging
import os

from mikroscope.logging import MikroScopeHandler

sidecar = MikroScopeHandler(
    os.environ.get("MIKROSCOPE_URL", "http://127.0.0.1:4310"),
    token=os.environ.get("MIKROSCOPE_TOKEN", "backend-token"),
    fields={"service": "shop"},  # in every record
)
logging.basicConfig(level=logging.INFO, handlers=[sidecar, logging.StreamHandler()])
logger = logging.getLogger("shop.orders")

logger.info("Order %s created", "ORD-123", extra={"event": "order.created", "orderId": "ORD-123"})

try:
    raise TimeoutError("the bank did not answer")
except TimeoutError:
    logger.exception("Payment failed", extra={"orderId": "ORD-123", "correlationId": "req-1"})

# The handler sends the rest when the program ends; sidecar.flush() would wait for that here.
