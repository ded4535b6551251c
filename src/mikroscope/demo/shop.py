"""The requests of a small online shop, and the lines that its services write for each."""

from typing import NamedTuple


class Step(NamedTuple):
    """One line that a service writes, `wait_ms` after the previous one; `message` is a template."""

    service: str
    level: str
    event: str
    message: str
    wait_ms: int = 0


class Flow(NamedTuple):
    """One kind of request.

    `statuses` are those of success, refusal and failure; `error` is the type of the failure,
    followed by the frames of its stack.
    """

    request: str
    statuses: tuple[int, int, int]
    steps: tuple[Step, ...]
    refusal: Step
    failure: Step
    error: tuple[str, ...]


CHECKOUT = Flow(
    "POST /api/checkout",
    (201, 402, 502),
    (
        Step("checkout", "INFO", "cart.priced", "Cart of {few} items priced for {orderId}"),
        Step("billing", "DEBUG", "payment.requested", "Card network asked about {orderId}"),
        Step("billing", "INFO", "payment.authorized", "Payment for {orderId} authorized"),
        Step("inventory", "INFO", "stock.reserved", "Reserved {few} items for {orderId}"),
        Step("notifications", "INFO", "email.queued", "Confirmation of {orderId} queued"),
    ),
    Step("billing", "WARN", "payment.declined", "Card of {userId} was declined for {orderId}"),
    Step("billing", "ERROR", "payment.failed", "no answer from the card network in 5 s", 5000),
    ("PaymentTimeout", "ask (/app/billing/network.py:88)", "charge (/app/billing/pay.py:141)"),
)


REFUND = Flow(
    "POST /api/orders/:orderId/refund",
    (202, 409, 500),
    (
        Step("billing", "INFO", "refund.started", "Refund of {orderId} started by {userId}"),
        Step("notifications", "DEBUG", "sms.skipped", "No phone number on file for {userId}"),
    ),
    Step("billing", "WARN", "refund.refused", "{orderId} was refunded before"),
    Step("billing", "ERROR", "refund.failed", "ledger entry of {orderId} has two writers"),
    ("LedgerConflict", "append (/app/billing/ledger.py:175)", "refund (/app/billing/pay.py:59)"),
)


PRODUCT = Flow(
    "GET /api/catalog/:productId",
    (200, 404, 500),
    (
        Step("catalog", "DEBUG", "cache.hit", "Product {n} served from the cache"),
        Step("catalog", "INFO", "product.viewed", "Product {n} shown to {userId}"),
    ),
    Step("catalog", "WARN", "product.missing", "Product {n} is no longer sold"),
    Step("catalog", "ERROR", "product.failed", "product {n} has no price in EUR"),
    ("PriceMissing", "decode (/app/catalog/rows.py:52)", "load (/app/catalog/products.py:97)"),
)


SEARCH = Flow(
    "GET /api/search",
    (200, 400, 503),
    (
        Step("search", "DEBUG", "query.planned", "Query of {few} terms goes to 6 shards"),
        Step("search", "INFO", "query.executed", "Search found {n} products in {ms} ms"),
    ),
    Step("search", "WARN", "query.refused", "Search text has {n} characters too many"),
    Step("search", "ERROR", "query.failed", "shard {few} gave no answer in 2 s", 2000),
    ("ShardUnavailable", "gather (/app/search/shards.py:210)", "run (/app/search/query.py:64)"),
)


LOGIN = Flow(
    "POST /api/auth/login",
    (200, 401, 500),
    (
        Step("auth", "DEBUG", "password.verified", "Password of {userId} verified in {ms} ms"),
        Step("auth", "INFO", "session.opened", "Session opened for {userId}"),
    ),
    Step("auth", "WARN", "login.refused", "Wrong password for {userId}, attempt {few}"),
    Step("auth", "ERROR", "session.failed", "all 20 connections to the session store in use"),
    ("PoolExhausted", "acquire (/app/auth/pool.py:33)", "open (/app/auth/sessions.py:118)"),
)


FLOW_WEIGHTS = {CHECKOUT: 20, REFUND: 5, PRODUCT: 33, SEARCH: 26, LOGIN: 16}


RECEIVED = Step("gateway", "INFO", "request.received", "{method} {route} received")


SLOW = Step("gateway", "WARN", "request.slow", "{method} {route} takes longer than a second")


ANSWERED = Step(
    "gateway", "INFO", "request.completed", "{method} {route} got {statusCode} in {ms} ms"
)


# Background jobs: their lines have no tenant and no ids.
BACKGROUND = (
    Step("scheduler", "INFO", "job.completed", "Price import changed {n} rows in {ms} ms"),
    Step("catalog", "DEBUG", "cache.refreshed", "Refreshed {n} cached products"),
    Step("search", "INFO", "index.merged", "Merged {few} index segments in {ms} ms"),
    Step("notifications", "DEBUG", "outbox.drained", "Sent {few} messages from the outbox"),
    Step("inventory", "WARN", "stock.low", "Product {n} is down to {few} items"),
)


# Back office actions: the action, its kind of target, the message, and the share that is denied.
AUDITS = (
    ("login", "session", "signed in", 0.12),
    ("role.grant", "user", "gave the role of editor", 0.05),
    ("role.revoke", "user", "took the role of editor back", 0.05),
    ("price.change", "product", "changed a price", 0.02),
    ("refund.approve", "order", "approved a refund", 0.1),
    ("customers.export", "report", "exported customers", 0.2),
    ("key.rotate", "key", "rotated a key", 0.0),
)
