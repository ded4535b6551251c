"""The logging handler, on real servers, on such that misbehave, and on such that die."""

import gc
import json
import logging
import logging.config
import logging.handlers
import queue
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mikroscope.logging import MikroScopeHandler
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.ingest import CLOSE, DROP, HANG, Reply, free_port, stub
from tests.helpers.server import Connect, Serve
from tests.helpers.stores import all_entries
from tests.helpers.waiting import wait_until
from tests.helpers.webhooks import make_certificate

TOKEN = "shop-token"
QUICK: dict[str, Any] = {"linger_s": 0.01, "backoff_s": 0.01, "max_backoff_s": 0.05}


@contextmanager
def logging_to(url: str, **options: Any) -> Iterator[tuple[logging.Logger, MikroScopeHandler]]:
    """A logger with a handler, which is closed at the end."""
    handler = MikroScopeHandler(url, **(QUICK | {"token": TOKEN} | options))
    logger = logging.Logger("shop")  # its own, apart from all others
    logger.addHandler(handler)
    try:
        yield logger, handler
    finally:
        handler.close()


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, to its end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# --- a real server --------------------------------------------------------------------------


def test_logs_are_found(serve: Serve, connect: Connect) -> None:
    """What is logged can be asked for, by level, event, field and the words of the error."""
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
    """Basic auth and compressed bodies are taken."""
    server = serve(auth_username="shop", auth_password="söcret")
    auth = {"token": None, "username": "shop", "password": "söcret"}
    with logging_to(server.url, compress=True, **auth) as (logger, handler):
        logger.info("hello")
        assert handler.flush()
    client = connect(server, auth=(b"shop", "söcret".encode()))
    assert len(client.get("/api/logs").json()["entries"]) == 1


def test_https(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """Over TLS, with a certificate authority of one's own."""
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
    """A server whose certificate is not trusted gets nothing, and stderr says why."""
    certificate, key = make_certificate(tmp_path)
    server = serve(
        ingest_producers=f"{TOKEN}=shop", https=True, tls_cert_path=certificate, tls_key_path=key
    )
    with logging_to(server.url, flush_timeout_s=0.3) as (logger, handler):
        logger.info("hello")
        assert not handler.flush()
    assert "certificate" in capsys.readouterr().err


def test_wrong_token(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong token is told on stderr, with what the server says; the records wait."""
    server = serve(ingest_producers="other=shop")
    with logging_to(server.url, max_backoff_s=1e6, flush_timeout_s=1e5) as (logger, handler):
        logger.info("hello")
        assert not handler.flush()  # at once: it is known not to be asked again before
        assert handler.counts.waiting == 1
    told = capsys.readouterr().err
    assert "does not accept these logs (401 credentials are missing or wrong" in told
    assert "did not accept them: 1\n" in told
    assert TOKEN not in told


def test_too_large_for_the_server(
    serve: Serve, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a small limit at the server all arrives, but for what no request can hold."""
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


# --- the ways of logging ---------------------------------------------------------------------


def test_dict_config() -> None:
    """`logging.config.dictConfig` makes one, and another call closes it."""
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
    """Behind a QueueHandler and its listener nothing is different."""
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
    """A filter of the handler keeps records back."""
    with stub() as server, logging_to(server.url) as (logger, handler):
        handler.addFilter(lambda record: record.getMessage() != "secret")
        logger.info("secret")
        logger.info("hello")
        assert handler.flush()
        assert server.messages() == ["hello"]


def test_object_that_logs_when_it_is_shown() -> None:
    """An argument whose `str` logs by itself is no trouble."""
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
    """Arguments that cannot be right are refused at once, by name."""
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: expected"):
        MikroScopeHandler(**options)


# --- never in the way ------------------------------------------------------------------------


def test_server_that_does_not_answer() -> None:
    """Logging goes on while a server takes a request and never answers."""
    with stub(HANG) as server, logging_to(server.url, flush_timeout_s=0.1) as (logger, handler):
        logger.info("first")
        wait_until(lambda: bool(server.batches), "a request")
        for number in range(5000):
            logger.info("record %d", number)
        assert handler.counts.waiting == 5001
        assert not handler.flush(0.0)


def test_flush_in_a_signal_handler() -> None:
    """It ends by its time also if the signal has interrupted a log call, with its lock."""
    done: list[bool] = []
    with stub(HANG) as server, logging_to(server.url) as (logger, handler):
        logger.info("first")
        wait_until(lambda: bool(server.batches), "a request")

        def interrupted() -> None:
            with handler._sender._buffer._lock:
                server.closing.set()  # it is sent again
                wait_until(lambda: bool(server.taken), "an answer")
                done.append(handler.flush(0.1))

        thread = threading.Thread(target=interrupted, daemon=True)
        thread.start()
        wait_until(lambda: bool(done), "the end of flush")
        assert handler.flush()


def test_record_that_is_broken() -> None:
    """Whatever stands in a record, it is sent."""
    with stub() as server, logging_to(server.url) as (_, handler):
        for name, value in (("levelno", None), ("levelno", "x"), ("created", "x"), ("msg", None)):
            handler.handle(logging.makeLogRecord({"msg": "broken", name: value}))
        assert handler.flush()
        assert len(server.taken) == 4


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server logging goes on; the buffer stays within its bound, and stderr knows."""
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
    """When the server is back, it gets the newest records, and how many were dropped."""
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
    """If a connection ends without an answer, the records are sent again, and say so."""
    with stub(DROP) as server, logging_to(server.url) as (logger, handler):
        logger.info("hello")
        assert handler.flush()
        assert [one.get("resent") for batch in server.batches for one in batch] == [None, True]


def test_connection_that_the_server_closes() -> None:
    """A connection that was closed between two batches costs neither a record nor a mark."""
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
    """Records that come one after the other go in one request, up to its bound."""
    with stub() as server:
        with logging_to(server.url, linger_s=60, batch_records=10) as (logger, handler):
            for number in range(25):
                logger.info("record %d", number)
            wait_until(lambda: handler.counts.sent >= 20, "two full batches")
            assert handler.counts.waiting == 5
        assert sum(map(len, server.batches)) == 25


def test_errors_do_not_wait() -> None:
    """An error is sent at once, with what waits before it."""
    with stub() as server, logging_to(server.url, linger_s=60) as (logger, _):
        logger.info("before")
        logger.error("boom")
        wait_until(lambda: len(server.messages()) == 2, "the error")


def test_busy_server() -> None:
    """503 with Retry-After is waited for, and nothing is lost."""
    busy = Reply(503, (("retry-after", "0"),))
    with stub(busy, busy) as server, logging_to(server.url) as (logger, handler):
        logger.info("hello")
        assert handler.flush()
        assert (server.messages(), len(server.batches)) == (["hello"], 3)


# --- the end ---------------------------------------------------------------------------------


PROGRAM = """
import logging, sys
from mikroscope.logging import MikroScopeHandler
handler = MikroScopeHandler(sys.argv[1], token="t", flush_timeout_s=float(sys.argv[2]))
logging.basicConfig(handlers=[handler], level="INFO")
logging.info("hello")
"""


def test_end_of_the_program() -> None:
    """What is logged last is sent before the program ends."""
    with stub() as server:
        done = run(PROGRAM, server.url, 30)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.messages() == ["hello"]


def test_end_of_the_program_without_server() -> None:
    """A program ends without its server, and says what is lost."""
    done = run(PROGRAM, f"http://127.0.0.1:{free_port()}", 0.2)
    assert done.returncode == 0
    assert "did not accept them: 1\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_at_exit() -> None:
    """What is logged by the application's own exit functions is sent, too."""
    program = "import atexit, logging\n" + PROGRAM
    program += "atexit.register(lambda: logging.info('bye'))\n"
    with stub() as server:
        assert run(program, server.url, 30).returncode == 0
        assert server.messages() == ["hello", "bye"]


def test_first_log_at_exit() -> None:
    """Even if that is the first log of all, when no thread can be started any more."""
    program = PROGRAM.replace('logging.info("hello")', "import atexit")
    program += "atexit.register(lambda: logging.info('bye'))\n"
    with stub() as server:
        assert run(program, server.url, 30).returncode == 0
        assert server.messages() == ["bye"]


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no thread, what waits is sent at the end, as `logging` ends it."""

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
    """After a flush in vain, as `logging.shutdown` does it, close does not wait once more."""
    with stub(HANG) as server:
        handler = MikroScopeHandler(server.url, token=TOKEN, flush_timeout_s=0.05, linger_s=0.01)
        handler.handle(logging.makeLogRecord({"msg": "hello", "levelno": 20}))
        wait_until(lambda: bool(server.batches), "a request")
        assert not handler.flush()
        handler._flush_timeout_s = 1e6
        handler.close()
    assert "did not accept them: 1\n" in capsys.readouterr().err


def test_logging_after_close(capsys: pytest.CaptureFixture[str]) -> None:
    """What comes after close is counted as dropped, and said."""
    with stub() as server, logging_to(server.url) as (logger, handler):
        handler.close()
        logger.info("late")
        assert handler.counts.dropped == 1
    assert "after close()" in capsys.readouterr().err


def test_handler_that_is_forgotten() -> None:
    """A handler that nobody holds any more sends what it has, and its thread ends."""
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


# --- other processes -------------------------------------------------------------------------

FORK = """
import logging, os, sys, warnings
from mikroscope.logging import MikroScopeHandler
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, from Python 3.12 on
handler = MikroScopeHandler(sys.argv[1], token="t", linger_s=60, flush_timeout_s=30)
logging.basicConfig(handlers=[handler], level="INFO")
logging.info("parent before")
"""


def test_fork() -> None:
    """A forked child sends its own records by its own thread; the parent's are sent once."""
    program = FORK + (
        "child = os.fork()\n"
        "logging.info('parent after' if child else 'child')\n"
        "child and os.waitpid(child, 0)\n"
    )
    with stub() as server:
        done = run(program, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(server.messages()) == ["child", "parent after", "parent before"]
        assert len({one["process"] for one in server.taken}) == 2


def test_fork_with_a_connection() -> None:
    """Parent and child have connections of their own."""
    program = FORK + (
        "handler.flush()\n"
        "child = os.fork()\n"
        "for number in range(20):\n"
        "    logging.info('more')\n"
        "    handler.flush()\n"
        "child and os.waitpid(child, 0)\n"
    )
    with stub() as server:
        done = run(program, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert Counter(server.messages()) == {"parent before": 1, "more": 40}
        assert server.connections == 2


def test_forks_under_load() -> None:
    """Children that are forked while threads log and send do not hang, and lose nothing."""
    program = FORK + (
        "import threading\n"
        "def work():\n"
        "    for _ in range(3000): logging.info('parent')\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "children = []\n"
        "for _ in range(20):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        logging.error('child')\n"
        "        os._exit(0 if handler.flush(30) else 1)\n"
        "    children.append(child)\n"
        "codes = [os.waitpid(child, 0)[1] for child in children]\n"
        "for thread in threads: thread.join()\n"
        "assert codes == [0] * 20, codes\n"
    )
    with stub() as server:
        done = run(program, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        counts = Counter(server.messages())
        assert counts == {"parent before": 1, "parent": 12_000, "child": 20}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """Workers of multiprocessing, which end without exit functions, send their logs, too."""
    script = tmp_path / "program.py"
    script.write_text(
        FORK.replace('logging.info("parent before")', "")
        + "import multiprocessing\n"
        + "def work(number):\n"
        + "    logging.info('worker %d', number)\n"
        + "if __name__ == '__main__':\n"
        + "    logging.info('parent')\n"
        + f"    context = multiprocessing.get_context({method!r})\n"
        + "    workers = [context.Process(target=work, args=(n,)) for n in range(3)]\n"
        + "    for worker in workers: worker.start()\n"
        + "    for worker in workers: worker.join()\n"
    )
    with stub() as server:
        command = [sys.executable, str(script), server.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(server.messages()) == ["parent", "worker 0", "worker 1", "worker 2"]


@pytest.mark.parametrize("https", [False, True])
def test_thread_imports_nothing(https: bool, serve: Serve, tmp_path: Path) -> None:
    """The background thread imports nothing: a child that is forked in the midst of an import
    could never import that module."""
    certificate, key = make_certificate(tmp_path)
    tls: dict[str, object] = {"https": True, "tls_cert_path": certificate, "tls_key_path": key}
    server = serve(ingest_producers="t=shop", ingest_max_body_bytes=1024, **(tls if https else {}))
    program = (
        "import logging, sys\n"
        "from mikroscope.logging import MikroScopeHandler\n"
        "url, ca = sys.argv[1:]\n"
        "options = dict(ca_file=ca, compress=True, max_buffer_records=2, flush_timeout_s=30)\n"
        "handler = MikroScopeHandler(url, token='t', **options)\n"
        "nowhere = MikroScopeHandler('http://localhost:1', flush_timeout_s=0.1)\n"
        "logger = logging.Logger('x')\n"
        "logger.addHandler(handler); logger.addHandler(nowhere)\n"
        "before = set(sys.modules)\n"
        "for size in (1, 1, 1, 5000, 1): logger.info('x' * size)\n"
        "assert handler.flush()\n"
        "handler.close(); nowhere.close()\n"
        "print(handler.counts.refused, set(sys.modules) - before)\n"
    )
    assert run(program, server.url, certificate).stdout == "1 set()\n"


def test_only_the_standard_library() -> None:
    """An application that logs loads nothing but the standard library and the handler."""
    program = (
        "import sys; import mikroscope.logging\n"
        "names = {name for name in sys.modules if name.startswith('mikroscope')}\n"
        "names -= {name for name in names if name.startswith('mikroscope.logging')}\n"
        "names -= {'mikroscope', 'mikroscope._version'}\n"
        "roots = {name.split('.')[0] for name in sys.modules}\n"
        "names |= roots & {'starlette', 'apsw', 'msgspec', 'httpx', 'uvicorn', 'click'}\n"
        "print(sorted(names))\n"
    )
    assert run(program).stdout == "[]\n"


# --- a server that is killed -----------------------------------------------------------------


class Server:
    """A real server process on the same port and directories each time."""

    def __init__(self, directory: Path, port: int) -> None:
        command = [sys.executable, "-m", "mikroscope", "serve", "--port", str(port)]
        command += ["--logs", str(directory / "logs"), "--db", str(directory / "index.db")]
        command += ["--min-free-bytes", "0", "--ingest-producers", f"{TOKEN}=shop"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=directory
        )
        assert self.process.stdout is not None
        assert "listens on" in self.process.stdout.readline()

    def end(self, kill: bool) -> None:
        """By SIGKILL, without any chance to tidy up, or by SIGTERM."""
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


THREADS, BEFORE, WHILE_DEAD, AFTER = 8, 3000, 6500, 3000
RECORDS = THREADS * (BEFORE + WHILE_DEAD + AFTER)


class Application:
    """Eight threads that log numbered records, and never look at whether there is a server."""

    def __init__(self, logger: logging.Logger) -> None:
        self.killed = threading.Event()
        self.restarted = threading.Event()
        self.is_done = threading.Barrier(THREADS + 1)
        self._logger = logger
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Return when all has been logged."""
        for thread in self._threads:
            thread.join()

    def _work(self, thread: int) -> None:
        numbers = iter(range(thread, RECORDS, THREADS))
        for begin, count in ((None, BEFORE), (self.killed, WHILE_DEAD), (self.restarted, AFTER)):
            if begin is not None:
                begin.wait()
            for _ in range(count):
                number = next(numbers)
                self._logger.info("record %d", number, extra={"n": number})
            self.is_done.wait()


def test_server_is_killed_and_restarted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """100,000 records from 8 threads, the server killed in between: all threads get through
    while it is dead; each record is there or counted as dropped; that number is told; only a
    record that says `resent` is there twice."""
    port = free_port()
    server = Server(tmp_path, port)
    options: dict[str, Any] = {"max_buffer_records": 20_000, "flush_timeout_s": 60.0}
    with logging_to(f"http://127.0.0.1:{port}", **options) as (logger, handler):
        application = Application(logger)
        wait_until(lambda: handler.counts.sent > 0, "the first acknowledged batch")
        server.end(kill=True)
        application.is_done.wait()
        application.killed.set()
        application.is_done.wait()  # 52,000 records were logged without a server
        server = Server(tmp_path, port)
        application.restarted.set()
        application.is_done.wait()
        application.join()
        assert handler.flush()
        counts = handler.counts
    server.end(kill=False)

    store = SqliteStore(tmp_path / "index.db", write=False)
    records = [json.loads(bytes(entry.data)) for entry in all_entries(store)]
    store.close()
    found = Counter((one["n"], "resent" in one) for one in records if "n" in one)
    losses = [one for one in records if one.get("event") == "logs.dropped"]
    told = {(one["timestamp"], one["droppedSince"]): one["dropped"] for one in losses}
    assert (
        counts.dropped >= THREADS * WHILE_DEAD - 20_000 - 1000
    )  # what the buffer and a batch hold
    assert (counts.sent + counts.dropped, counts.waiting, counts.refused) == (RECORDS, 0, 0)
    assert len({number for number, _ in found}) == counts.sent
    assert set(found.values()) == {1}
    assert sum(told.values()) == counts.dropped  # its answer may have been lost, too
    assert "cannot be reached" in capsys.readouterr().err
