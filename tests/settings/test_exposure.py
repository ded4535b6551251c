"""Settings that leave the logs open to others are found, and only those."""

import pytest

from mikroscope import resolve_settings, start_server
from mikroscope.settings.exposure import exposures, is_loopback
from tests.helpers.server import settings_in

ANYWHERE = "0.0.0.0"  # noqa: S104 -- the subject of these tests


def subjects(**given: object) -> list[str]:
    """Return what is open with these settings."""
    return [one.subject for one in exposures(resolve_settings(env={}, overrides=given))]


def test_what_is_open() -> None:
    """Without credentials: other machines unless on loopback, web pages unless an origin is set."""
    assert subjects() == ["cors"]
    assert subjects(host=ANYWHERE) == ["access", "cors"]
    assert subjects(host=ANYWHERE, cors_allow_origin="https://ops.example") == ["access"]
    assert subjects(cors_allow_origin="*") == []
    assert subjects(ingest_producers="t=p") == ["cors"]  # this protects ingest, not the logs


@pytest.mark.parametrize(
    "credentials", [{"api_token": "t"}, {"auth_username": "u", "auth_password": "p"}]
)
def test_credentials_close_both(credentials: dict[str, object]) -> None:
    """Where the API needs credentials, nothing is open."""
    assert subjects(host=ANYWHERE, **credentials) == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("app.localhost", True),
        ("", False),
        (ANYWHERE, False),
        ("::", False),
        ("10.0.0.7", False),
        ("localhost.example.com", False),
        ("127.example.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Loopback is an address of that kind or a name for it, not a name that begins like one."""
    assert is_loopback(host) is expected


def test_the_start_warns(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """The start logs one line for each way in which the logs are open."""
    start_server(settings_in(tmp_path_factory.mktemp("open"))).close()
    (text,) = caplog.messages
    assert text.startswith("any web page that is open in a browser here can read all logs")
    assert "--cors-allow-origin" in text
    caplog.clear()
    start_server(settings_in(tmp_path_factory.mktemp("closed"), api_token="t")).close()
    assert caplog.messages == []
