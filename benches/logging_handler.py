"""Measures the cost of a log call for an application, whatever state its server is in.

For comparison, it measures `logging.FileHandler`, which writes a plain line, too. Prints JSON.

    python benches/logging_handler.py --records 100000 --threads 8
"""

import argparse
import json
import logging
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mikroscope.logging import MikroScopeHandler


@contextmanager
def real_server() -> Iterator[str]:
    """Run a MikroScope server, and yield its URL."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "mikroscope", "serve", "--port", "0"]
        command += ["--min-free-bytes", "0", "--ingest-producers", "t=bench"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=directory)
        assert process.stdout is not None
        yield process.stdout.readline().split(" listens on ")[1].split()[0]
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def unreachable() -> Iterator[str]:
    """Yield the URL of a port on which no server listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{one.getsockname()[1]}"


@contextmanager
def silence() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and never answers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield f"http://127.0.0.1:{one.getsockname()[1]}"


def measure(handler: logging.Handler, records: int, threads: int) -> dict[str, Any]:
    """Log from several threads; return how long the calls took, in microseconds."""
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    took: list[int] = []

    def work() -> None:
        mine = []
        for number in range(records // threads):
            began = time.perf_counter_ns()
            logger.info("Order %d created", number, extra={"orderId": number, "tenant": "acme"})
            mine.append(time.perf_counter_ns() - began)
        took.extend(mine)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    took.sort()
    return {
        "records_per_s": round(records / seconds),
        "us_median": round(statistics.median(took) / 1000, 1),
        "us_99th": round(took[len(took) * 99 // 100] / 1000, 1),
        "ms_slowest": round(took[-1] / 1e6, 1),
    }


def main() -> None:
    """Run all cases, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=8)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        plain = logging.FileHandler(Path(directory) / "app.log")
        plain.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        results["FileHandler"] = measure(plain, given.records, given.threads)
        plain.close()
    for name, server in (
        ("server", real_server),
        ("unreachable", unreachable),
        ("silence", silence),
    ):
        with server() as url:
            handler = MikroScopeHandler(url, token="t", flush_timeout_s=0.1)
            results[name] = measure(handler, given.records, given.threads)
            handler.flush(60 if name == "server" else 0)
            results[name] |= handler.counts._asdict()
            handler.close()
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    print(json.dumps(vars(given) | machine | results, indent=2))


if __name__ == "__main__":
    main()
