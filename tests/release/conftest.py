"""The installer tests' fixtures: a user, a small disk, a site that never answers."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.installer import Handler, Site, User
from tests.helpers.release import Release
from tests.helpers.waiting import DEADLINE_S


@pytest.fixture
def user(tmp_path: Path, release: Release) -> Iterator[User]:
    """A new user, and a site with version 0.1.0 of a dummy server."""
    site = Site(tmp_path / "site")
    (tmp_path / "home").mkdir()
    found = User(tmp_path / "home", site, release.tag)
    found.publish("0.1.0")
    yield found
    site.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def stuck_site() -> Iterator[ThreadingHTTPServer]:
    """A site that accepts a request and never answers; `asked` is set when it has one."""
    asked, end = threading.Event(), threading.Event()

    class Stuck(Handler):
        def do_GET(self) -> None:  # noqa: N802 -- the name that http.server calls
            asked.set()
            end.wait(DEADLINE_S)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stuck)
    server.asked = asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    end.set()
    server.shutdown()
    thread.join()
    server.server_close()
