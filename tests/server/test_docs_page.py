"""The page `/docs` in a browser that reaches no other host, and the script that renders it."""

import gzip
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder
from playwright.sync_api import Browser, Page, sync_playwright

from mikroscope import RunningServer
from mikroscope.server.app import OPERATIONS
from mikroscope.server.static_files import scalar_version
from tests.helpers.paths import ROOT
from tests.helpers.server import Connect, Serve

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SKIP = "MIKROSCOPE_SKIP_BROWSER_TESTS"
STATIC = ROOT / "src" / "mikroscope" / "server" / "static"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it."""
    if os.environ.get(SKIP) == "1":
        pytest.skip(f"{SKIP} is set")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail(f"Chromium is missing: apt-get install chromium, or set {SKIP}=1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page that was opened, its console messages and its requests."""

    def __init__(self, browser: Browser, server: RunningServer, place: str = "") -> None:
        self.page: Page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda told: self._hear(told.type, told.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{server.url}/docs{place}")
        self.page.get_by_text("/api/logs").first.wait_for(state="attached")

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    """A server with credentials of each kind."""
    return serve(api_token="api", ingest_producers="producer=app")


def test_page_shows_every_operation(browser: Browser, server: RunningServer) -> None:
    """Each operation is on the page, by its summary."""
    page = Visit(browser, server).page
    for operation in OPERATIONS:
        page.get_by_text(operation.summary).first.wait_for(state="attached")


def test_page_reaches_no_other_host(browser: Browser, server: RunningServer) -> None:
    """The page sends requests only to its server, and the console shows no error."""
    visit = Visit(browser, server)
    visit.page.get_by_text(OPERATIONS[-1].summary).last.scroll_into_view_if_needed()
    visit.page.evaluate("document.fonts.ready.then(() => true)")
    others = [url for url in visit.asked if not url.startswith((server.url, "data:", "blob:"))]
    assert not others
    assert visit.complaints == []


def test_page_tries_requests(browser: Browser, server: RunningServer) -> None:
    """A request can be sent from the page, which shows the response."""
    page = Visit(browser, server, "#tag/server/GET/health").page
    page.get_by_role("button", name="(get /health)").first.click()
    with page.expect_response(f"{server.url}/health") as answered:
        page.get_by_role("dialog").get_by_role("button", name="Send").first.click()
    assert answered.value.status == 200


SENT = {
    "/api/logs": lambda answer: answer["entries"][0]["message"] == "found",
    "/api/logs/aggregate": lambda answer: answer["buckets"] == [{"key": "ERROR", "count": 1}],
}


@pytest.mark.parametrize("path", SENT)
def test_requests_that_are_tried_find_entries(
    browser: Browser, serve: Serve, connect: Connect, path: str
) -> None:
    """No filter is filled in: a request that is sent as it stands on the page finds entries."""
    server = serve(ingest_producers="producer=app")
    headers = {"authorization": "Bearer producer"}
    records = [{"level": "ERROR", "message": "found"}]
    connect(server).post("/api/ingest", json=records, headers=headers).raise_for_status()
    page = Visit(browser, server, f"/#tag/logs/GET{path}").page  # with a slash, too
    page.get_by_role("button", name=f"(get {path})").first.click()
    with page.expect_response(lambda answer: "/api/logs" in answer.url) as answered:
        page.get_by_role("dialog").get_by_role("button", name="Send").first.click()
    assert SENT[path](answered.value.json())


def test_logs_that_are_sent_from_the_page(browser: Browser, server: RunningServer) -> None:
    """The example record is sent without a header that would not fit it."""
    page = Visit(browser, server, "#tag/logs/POST/api/ingest").page
    page.get_by_role("button", name="(post /api/ingest)").first.click()
    with page.expect_request(f"{server.url}/api/ingest") as sent:
        page.get_by_role("dialog").get_by_role("button", name="Send").first.click()
    assert "content-encoding" not in sent.value.all_headers()
    assert '"message":"Order created"' in (sent.value.post_data or "")


@pytest.mark.parametrize(("path", "base"), [("/docs", "./"), ("/docs/", "../")])
def test_page_as_clients_know_it(
    server: RunningServer, connect: Connect, path: str, base: str
) -> None:
    """The page has the texts that clients of the original look for, and links that lead home."""
    text = connect(server).get(path).text
    for expected in ("@scalar/api-reference", 'id="app"', "Scalar.createApiReference"):
        assert expected in text
    assert f'data-url="{base}openapi.json"' in text
    assert f'src="{base}docs/scalar.js?v={scalar_version()}"' in text


def test_page_forbids_other_hosts(server: RunningServer, connect: Connect) -> None:
    """The page's policy lets it load from, and connect to, its own server only."""
    answer = connect(server).get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"


def test_script_is_sent_packed(server: RunningServer, connect: Connect) -> None:
    """Clients that accept gzip get the script as it is packaged; others get it unpacked."""
    client, packed = connect(server), (STATIC / "scalar.js.gz").read_bytes()
    for accepted in ("gzip", "br, GZIP;q=0.5", "*"):
        with client.stream(
            "GET", "/docs/scalar.js", headers={"accept-encoding": accepted}
        ) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert b"".join(answer.iter_raw()) == packed
    for accepted in ("identity", "gzip;q=0, *", ""):
        answer = client.get("/docs/scalar.js", headers={"accept-encoding": accepted})
        assert "content-encoding" not in answer.headers
        assert answer.content == gzip.decompress(packed)


@pytest.mark.parametrize(("version", "kept"), [(scalar_version(), True), ("0.0.0", False)])
def test_script_is_kept_by_version(
    version: str, kept: bool, server: RunningServer, connect: Connect
) -> None:
    """The script may be cached for long under the URL of its own version, and no other."""
    answer: httpx.Response = connect(server).get(f"/docs/scalar.js?v={version}")
    assert ("immutable" in answer.headers["cache-control"]) == kept


def test_script_is_packed_reproducibly() -> None:
    """The packed script contains neither a name nor a time, so a version has fixed bytes."""
    head = (STATIC / "scalar.js.gz").read_bytes()[:8]
    assert head[3:] == bytes(5)


def test_wheel_has_the_script(tmp_path: Path) -> None:
    """An installed package has the script, its version and its licence."""
    (path,) = WheelBuilder(str(STATIC.parents[3])).build(directory=str(tmp_path))
    names = set(zipfile.ZipFile(path).namelist())
    parts = ("scalar.js.gz", "scalar.VERSION", "scalar.LICENSE")
    assert {f"mikroscope/server/static/{part}" for part in parts} <= names
