"""The logging handler, with real servers and with servers that misbehave."""

import gc
import logging
import logging.config
import logging.handlers
import queue
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from mikroscope.logging import MikroScopeHandler
from tests.helpers.handlers import TOKEN, logging_to
from tests.helpers.ingest import CLOSE, DROP, HANG, Reply, free_port, stub
from tests.helpers.server import Connect, Serve
from tests.helpers.waiting import wait_until
from tests.helpers.webhooks import make_certificate


def test_logs_are_found(serve: Serve, connect: Connect) -> None:
    """A logged record is found by level, event, field and the words of its error."""
    server = serve(ingest_producers=f"{TOKEN}=shop")
    with logging_to(server.url, fields={"service": "shop"}) as (logger, handler):
        logger.info("Order %s created", 1, extra={"event": "order.created", "orderId": "ORD-1"})
        try:
            raise TimeoutError("the bank did not answer")
        except TimeoutError:
            logger.exception("Payment failed", extra={"correlationId": "c-1"})
        assert handler.flush()
    client = connect(server)
    for question in (
        {"field": "orderId", "value": "ORD-1"},
        {"level": "ERROR"},
        {"text": "bank answer"},
        {"field": "error.type", "value": "TimeoutError"},
        {"field": "producerId", "value": "shop"},
    ):
        entries = client.get("/api/logs", params=question).json()["entries"]
        assert len(entries) == (2 if "producerId" in question.values() else 1), question
    events = client.get("/api/logs/aggregate", params={"groupBy": "event"}).json()["buckets"]
    assert {bucket["key"] for bucket in events} == {"order.created", "Payment failed"}


def test_basic_auth_and_gzip(serve: Serve, connect: Connect) -> None:
    """The server accepts Basic auth and compressed bodies."""
    server = serve(auth_username="shop", auth_password="söcret")
    auth = {"token": None, "username": "shop", "password": "söcret"}
    with logging_to(server.url, compress=True, **auth) as (logger, handler):
        logger.info("hello")
        assert handler.flush()
    client = connect(server, auth=(b"shop", "söcret".encode()))
    assert len(client.get("/api/logs").json()["entries"]) == 1


def test_https(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """The handler sends over TLS with a private certificate authority."""
    certificate, key = make_certificate(tmp_path)
    server = serve(
        ingest_producers=f"{TOKEN}=shop", https=True, tls_cert_path=certificate, tls_key_path=key
    )
    with logging_to(server.url, ca_file=str(certificate)) as (logger, handler):
        for number in range(3):  # one connection for all
            logger.info("hello %d", number)
            assert handler.flush()
    assert len(connect(server).get("/api/logs").json()["entries"]) == 3


def test_certificate_that_nobody_trusts(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server with an untrusted certificate gets nothing, and stderr says why."""
    certificate, key = make_certificate(tmp_path)
    server = serve(
        ingest_producers=f"{TOKEN}=shop", https=True, tls_cert_path=certificate, tls_key_path=key
    )
    with logging_to(server.url, flush_timeout_s=0.3) as (logger, handler):
        logger.info("hello")
        assert not handler.flush()
    assert "certificate" in capsys.readouterr().err


def test_wrong_token(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """After a wrong token, stderr shows the server's error, and the records wait."""
    server = serve(ingest_producers="other=shop")
    with logging_to(server.url, max_backoff_s=1e6, flush_timeout_s=1e5) as (logger, handler):
        logger.info("hello")
        assert not handler.flush()  # at once: no retry is due for a long time
        assert handler.counts.waiting == 1
    told = capsys.readouterr().err
    assert "does not accept these logs (401 Unauthorized: Wrong credentials." in told
    assert "did not accept them: 1\n" in told
    assert TOKEN not in told


def test_too_large_for_the_server(
    serve: Serve, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a small limit at the server, all records arrive except one that exceeds any request."""
    server = serve(ingest_producers=f"{TOKEN}=shop", ingest_max_body_bytes=2000)
    with logging_to(server.url) as (logger, handler):
        for number in range(200):
            logger.info("record %d", number)
        logger.info("x" * 5_000_000)
        assert handler.flush()
        assert (handler.counts.sent, handler.counts.refused) == (200, 1)
    client = connect(server)
    lost = client.get("/api/logs", params={"field": "event", "value": "logs.dropped"}).json()
    assert [entry["data"]["droppedRefused"] for entry in lost["entries"]] == [1]
    assert "refused a record of 5000" in capsys.readouterr().err


def test_dict_config() -> None:
    """`logging.config.dictConfig` creates a handler, and another call closes it."""
    with stub() as server:
        handler = {"class": "mikroscope.logging.MikroScopeHandler", "url": server.url}
        config = {
            "version": 1,
            "handlers": {"sidecar": handler | {"level": "WARNING", "token": TOKEN}},
            "loggers": {"configured": {"handlers": ["sidecar"], "level": "DEBUG"}},
        }
        logging.config.dictConfig(config | {"disable_existing_loggers": False})
        logging.getLogger("configured").info("below the handler's level")
        logging.getLogger("configured").warning("hello")
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        logging.getLogger("configured").handlers.clear()
        assert server.messages() == ["hello"]


def test_queue_handler() -> None:
    """The handler works the same behind a QueueHandler and its listener."""
    with stub() as server, logging_to(server.url) as (_, handler):
        records: queue.SimpleQueue[Any] = queue.SimpleQueue()
        listener = logging.handlers.QueueListener(records, handler)
        logger = logging.Logger("queued")
        logger.addHandler(logging.handlers.QueueHandler(records))
        listener.start()
        logger.info("hello %s", "you")
        listener.stop()
        assert handler.flush()
        assert server.messages() == ["hello you"]


def test_filters_are_asked() -> None:
    """A filter of the handler can reject records."""
    with stub() as server, logging_to(server.url) as (logger, handler):
        handler.addFilter(lambda record: record.getMessage() != "secret")
        logger.info("secret")
        logger.info("hello")
        assert handler.flush()
        assert server.messages() == ["hello"]


def test_object_that_logs_when_it_is_shown() -> None:
    """An argument whose `str` logs a record causes no deadlock."""
    with stub() as server, logging_to(server.url) as (logger, handler):

        class Talkative:
            def __str__(self) -> str:
                logger.info("inner")
                return "outer"

        logger.info("%s", Talkative())
        assert handler.flush()
        assert server.messages() == ["inner", "outer"]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "there"},
        {"max_buffer_records": 0},
        {"batch_bytes": -1},
        {"timeout_s": 0},
        {"ca_file": "/nowhere.pem", "url": "https://there"},
        {"fields": {"level": "INFO"}},
        {"fields": 5},
        {"url": "http://there:99999"},
        {"max_buffer_records": 1.5},
        {"timeout_s": "5"},
        {"backoff_s": float("nan")},
        {"linger_s": -1},
        {"flush_timeout_s": float("inf")},
        {"token": 5},
        {"username": "a:b", "password": "c"},
    ],
)
def test_wrong_arguments(options: dict[str, Any]) -> None:
    """Impossible arguments are refused at once, by name."""
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: expected"):
        MikroScopeHandler(**options)


def test_server_that_does_not_answer() -> None:
    """Logging continues while a server accepts a request and never answers."""
    with stub(HANG) as server, logging_to(server.url, flush_timeout_s=0.1) as (logger, handler):
        logger.info("first")
        wait_until(lambda: bool(server.batches), "a request")
        for number in range(5000):
            logger.info("record %d", number)
        assert handler.counts.waiting == 5001
        assert not handler.flush(0.0)


def test_flush_in_a_signal_handler() -> None:
    """A flush in a signal handler ends in time, even if a log call holds the lock."""
    done: list[bool] = []
    with stub(HANG) as server, logging_to(server.url) as (logger, handler):
        logger.info("first")
        wait_until(lambda: bool(server.batches), "a request")

        def interrupted() -> None:
            with handler._sender._buffer._lock:
                server.closing.set()  # the handler sends it again
                wait_until(lambda: bool(server.taken), "an answer")
                done.append(handler.flush(0.1))

        thread = threading.Thread(target=interrupted, daemon=True)
        thread.start()
        wait_until(lambda: bool(done), "the end of flush")
        assert handler.flush()


def test_record_that_is_broken() -> None:
    """A record is sent whatever its attributes contain."""
    with stub() as server, logging_to(server.url) as (_, handler):
        for name, value in (("levelno", None), ("levelno", "x"), ("created", "x"), ("msg", None)):
            handler.handle(logging.makeLogRecord({"msg": "broken", name: value}))
        assert handler.flush()
        assert len(server.taken) == 4


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server, logging continues, the buffer keeps its limit, and stderr has a warning."""
    url = f"http://127.0.0.1:{free_port()}"
    with logging_to(url, max_buffer_records=100, flush_timeout_s=0.1) as (logger, handler):
        for number in range(1000):
            logger.info("record %d", number)
        counts = handler.counts
        assert counts.waiting + counts.dropped == 1000
        assert counts.waiting <= 200  # the buffer, and a batch
    told = capsys.readouterr().err
    assert "cannot be reached" in told
    assert "did not accept them: 1000\n" in told


def test_dropped_records_are_told() -> None:
    """When the server returns, it gets the newest records and the number of dropped ones."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with logging_to(url, max_buffer_records=10, batch_records=5) as (logger, handler):
        for number in range(100):
            logger.info("record %d", number)
        with stub(port=port) as server:
            assert handler.flush()
            wait_until(lambda: bool(server.losses()), "the record of the loss")
            assert server.messages()[-10:] == [f"record {number}" for number in range(90, 100)]
            assert server.losses() == [handler.counts.dropped]
            assert handler.counts.sent + handler.counts.dropped == 100


def test_lost_answer() -> None:
    """If a connection ends without an answer, the records are sent again and marked as a retry."""
    with stub(DROP) as server, logging_to(server.url) as (logger, handler):
        logger.info("hello")
        assert handler.flush()
        assert [one.get("resent") for batch in server.batches for one in batch] == [None, True]


def test_connection_that_the_server_closes() -> None:
    """A connection that was closed between two batches causes neither a loss nor a retry mark."""
    with stub(CLOSE, CLOSE) as server, logging_to(server.url) as (logger, handler):
        for number in range(3):
            wait_until(lambda: server.hung_up == len(server.batches), "the end of the connection")
            logger.info("record %d", number)
            assert handler.flush()
        assert server.messages() == ["record 0", "record 1", "record 2"]
        assert not [one for one in server.taken if "resent" in one]


def test_connection_is_kept() -> None:
    """All batches use one connection."""
    with stub() as server, logging_to(server.url) as (logger, handler):
        for number in range(5):
            logger.info("record %d", number)
            assert handler.flush()
        assert (len(server.batches), server.connections) == (5, 1)


def test_records_are_gathered() -> None:
    """Records that are logged in quick succession share a request, up to its limit."""
    with stub() as server:
        with logging_to(server.url, linger_s=60, batch_records=10) as (logger, handler):
            for number in range(25):
                logger.info("record %d", number)
            wait_until(lambda: handler.counts.sent >= 20, "two full batches")
            assert handler.counts.waiting == 5
        assert sum(map(len, server.batches)) == 25


def test_errors_do_not_wait() -> None:
    """An error is sent at once, together with the records that wait before it."""
    with stub() as server, logging_to(server.url, linger_s=60) as (logger, _):
        logger.info("before")
        logger.error("boom")
        wait_until(lambda: len(server.messages()) == 2, "the error")


def test_busy_server() -> None:
    """The handler waits after a 503 with Retry-After and loses nothing."""
    busy = Reply(503, (("retry-after", "0"),))
    with stub(busy, busy) as server, logging_to(server.url) as (logger, handler):
        logger.info("hello")
        assert handler.flush()
        assert (server.messages(), len(server.batches)) == (["hello"], 3)


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, waiting records are sent when `logging` shuts down."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with stub() as server:
        handler = MikroScopeHandler(server.url, token=TOKEN)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        handler.handle(logging.makeLogRecord({"msg": "hello", "levelno": 20}))
        monkeypatch.undo()
        assert not handler.flush()
        handler.close()
        assert server.messages() == ["hello"]


def test_waiting_for_the_end_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """After a failed flush, as in `logging.shutdown`, `close` does not wait again."""
    with stub(HANG) as server:
        handler = MikroScopeHandler(server.url, token=TOKEN, flush_timeout_s=0.05, linger_s=0.01)
        handler.handle(logging.makeLogRecord({"msg": "hello", "levelno": 20}))
        wait_until(lambda: bool(server.batches), "a request")
        assert not handler.flush()
        handler._flush_timeout_s = 1e6
        handler.close()
    assert "did not accept them: 1\n" in capsys.readouterr().err


def test_logging_after_close(capsys: pytest.CaptureFixture[str]) -> None:
    """A record logged after `close` is counted as dropped and reported."""
    with stub() as server, logging_to(server.url) as (logger, handler):
        handler.close()
        logger.info("late")
        assert handler.counts.dropped == 1
    assert "after close()" in capsys.readouterr().err


def test_handler_that_is_forgotten() -> None:
    """A handler without references sends its records, and its thread ends."""
    with stub() as server:
        handler = MikroScopeHandler(server.url, token=TOKEN, linger_s=60)
        handler.handle(logging.makeLogRecord({"msg": "hello", "levelno": 20}))
        thread = handler._sender._thread
        assert thread is not None
        gone = weakref.ref(handler)
        del handler
        gc.collect()
        assert gone() is None
        wait_until(lambda: not thread.is_alive(), "the end of the thread")
        assert server.messages() == ["hello"]
