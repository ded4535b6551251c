"""The handler at the end of a program, in forked children, and in workers of multiprocessing."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.forms import amount
from tests.helpers.handlers import run
from tests.helpers.ingest import free_port, stub
from tests.helpers.server import Serve
from tests.helpers.webhooks import make_certificate

PROGRAM = """
import logging, sys
from mikroscope.logging import MikroScopeHandler
handler = MikroScopeHandler(sys.argv[1], token="t", flush_timeout_s=float(sys.argv[2]))
logging.basicConfig(handlers=[handler], level="INFO")
logging.info("hello")
"""


def test_end_of_the_program() -> None:
    """The last logged records are sent before the program ends."""
    with stub() as server:
        done = run(PROGRAM, server.url, 30)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.messages() == ["hello"]


def test_end_of_the_program_without_server() -> None:
    """Without its server, a program ends and prints how many records are lost."""
    done = run(PROGRAM, f"http://127.0.0.1:{free_port()}", 0.2)
    assert done.returncode == 0
    assert "did not accept them: 1\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_at_exit() -> None:
    """Records logged by the application's exit functions are sent."""
    program = "import atexit, logging\n" + PROGRAM
    program += "atexit.register(lambda: logging.info('bye'))\n"
    with stub() as server:
        assert run(program, server.url, 30).returncode == 0
        assert server.messages() == ["hello", "bye"]


def test_first_log_at_exit() -> None:
    """The first record may be logged at exit, when no thread can be started any more."""
    program = PROGRAM.replace('logging.info("hello")', "import atexit")
    program += "atexit.register(lambda: logging.info('bye'))\n"
    with stub() as server:
        assert run(program, server.url, 30).returncode == 0
        assert server.messages() == ["bye"]


FORK = """
import logging, os, sys, warnings
from mikroscope.logging import MikroScopeHandler
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, from Python 3.12 on
handler = MikroScopeHandler(sys.argv[1], token="t", linger_s=60, flush_timeout_s=30)
logging.basicConfig(handlers=[handler], level="INFO")
logging.info("parent before")
"""


def test_fork() -> None:
    """A forked child sends its records from its own thread; the parent's are sent once."""
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
    """Parent and child use separate connections."""
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


@pytest.mark.long
def test_forks_under_load() -> None:
    """Children forked while threads log and send do not hang and lose nothing."""
    records, forks = amount(1000, 3000), amount(8, 40)
    program = FORK + (
        "import threading\n"
        "def work():\n"
        f"    for _ in range({records}): logging.info('parent')\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "children = []\n"
        f"for _ in range({forks}):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        logging.error('child')\n"
        "        os._exit(0 if handler.flush(30) else 1)\n"
        "    children.append(child)\n"
        "codes = [os.waitpid(child, 0)[1] for child in children]\n"
        "for thread in threads: thread.join()\n"
        f"assert codes == [0] * {forks}, codes\n"
    )
    with stub() as server:
        done = run(program, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        counts = Counter(server.messages())
        assert counts == {"parent before": 1, "parent": 4 * records, "child": forks}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """Workers of multiprocessing send their logs, although they end without exit functions."""
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
    """The background thread imports nothing, because a child that is forked during an import could
    never import that module.
    """
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
    """An application that logs loads only the standard library and the handler."""
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
