"""Checks the port, access to the API, the TLS certificate, and the webhook."""

import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from mikroscope.doctor.findings import Finding, ok, problem, warning
from mikroscope.settings.exposure import exposures, requires_credentials
from mikroscope.settings.options import Settings

_TIMEOUT_S = 3.0
_SOON_DAYS = 21
_MAY_BE_OURS = (errno.EADDRINUSE, errno.EACCES)  # EACCES: the server may have more rights


class Address(NamedTuple):
    """The address that a server listens on."""

    protocol: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """A URL that reaches it from this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- compared, not listened on
        return f"{self.protocol}://{f'[{host}]' if ':' in host else host}:{self.port}"


def check_port(address: Address, owner: str | None, may_be_ours: bool) -> Finding:
    """Check that the port is free, or used by the server that uses the index.

    `owner` is that server's process; `may_be_ours` is False if no server uses the index.
    """
    if address.port == 0:
        return ok("port", "the server takes any free port")
    refusal = _try_to_listen(address)
    if refusal is None:
        return _check_free_port(address, owner)
    health = _health(address) if refusal.errno in _MAY_BE_OURS else None
    if health is not None:
        return _check_health(address, health, may_be_ours)
    return problem(
        "port",
        f"cannot listen on {address.host}:{address.port}: {_reason(refusal)}",
        "choose another --port (or --host), or stop the program that listens there (ss -ltnp)",
    )


def _check_free_port(address: Address, owner: str | None) -> Finding:
    if owner is None:
        return ok("port", f"{address.host}:{address.port} is free")
    return warning(
        "port",
        f"process {owner} uses the index, but nothing answers at {address.url}",
        "run this with the server's flags and environment; if the port is the same, check the "
        "server's log and restart it",
    )


def _check_health(address: Address, health: dict[str, Any], may_be_ours: bool) -> Finding:
    if health.get("service") != "mikroscope":
        return problem(
            "port",
            f"a program other than MikroScope answers at {address.url}",
            "choose another --port, or stop the program that listens there (ss -ltnp)",
        )
    if not may_be_ours:
        return problem(
            "port",
            f"a MikroScope server with another index answers at {address.url}",
            "choose another --port, or run this with that server's flags and environment",
        )
    if health.get("ok") is not True:
        problems = "; ".join(map(str, health.get("problems", [])))
        text = f"the server at {address.url} reports: {problems}"
        return problem("port", text, "do what the text says, or check the server's log")
    return ok("port", f"a server answers at {address.url} and reports no problem")


def _health(address: Address) -> dict[str, Any] | None:
    """The answer to GET /health there; empty if that is not JSON, None if nothing answers."""
    try:
        with httpx.Client(verify=False, trust_env=False, timeout=_TIMEOUT_S) as client:  # noqa: S501 -- of this machine, and nothing secret is sent
            found = client.get(f"{address.url}/health").json()
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return {} if _is_accepting(address) else None
    except (httpx.HTTPError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_accepting(address: Address) -> bool:
    """Return True if a program accepts connections there, with or without TLS."""
    host = urlsplit(address.url).hostname
    with contextlib.suppress(OSError), socket.create_connection((host, address.port), _TIMEOUT_S):
        return True
    return False


def _try_to_listen(address: Address) -> OSError | None:
    """Why a server cannot listen there; None if it can."""
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, place = found[0]
        socket.create_server(place[:2], family=family).close()
    except OSError as error:
        return error
    return None


def _reason(refusal: OSError) -> str:
    if isinstance(refusal, socket.gaierror):
        return f"unknown host ({refusal.strerror})"
    if refusal.errno == errno.EACCES:
        return "only root may listen on ports below 1024"
    return os.strerror(refusal.errno) if refusal.errno else str(refusal)


def check_access(settings: Settings) -> Iterator[Finding]:
    """Check that other machines and web pages cannot use the API without credentials."""
    found = exposures(settings)
    if requires_credentials(settings):
        yield ok("access", "the API requires credentials")
    elif "access" not in {one.subject for one in found}:
        yield ok("access", "only programs on this machine can use the API")
    yield from (warning(*one) for one in found)


# --- TLS ------------------------------------------------------------------------------------


def check_expiry(certificate: Path, key: Path, now: datetime) -> Finding:
    """Check how long a certificate is valid; it must match its key. Raises OSError."""
    try:
        not_after = _not_after(certificate, key)
    except ssl.SSLCertVerificationError as error:
        return problem("certificate", f"{certificate}: {error.verify_message}", "renew it")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC)
    text = f"{certificate} is valid until {until:%Y-%m-%d}"
    if (until - now).days < _SOON_DAYS:
        return warning("certificate", text, "renew it and restart the server")
    return ok("certificate", text)


def _not_after(certificate: Path, key: Path) -> str:
    """The end of validity, found by a handshake in memory that trusts only this certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    while waiting:
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    found: Any = ends[0].getpeercert()
    return str(found["notAfter"])


# --- the webhook ----------------------------------------------------------------------------


def check_webhook(url: str | None, enabled: bool, online: bool) -> Iterator[Finding]:
    """Check that alerts have a webhook; with `online`, that its host can be reached."""
    if not enabled or url is None:
        yield ok("webhook", "alerts are off")
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    place = f"{parts.hostname}:{port}"  # a URL may hold a key
    if not online:
        yield ok("webhook", f"alerts go to {place} (--online tries to connect to it)")
        return
    try:
        socket.create_connection((str(parts.hostname), port), _TIMEOUT_S).close()
    except OSError as error:
        yield problem(
            "webhook",
            f"{place} cannot be reached: {error.strerror or error}",
            "check the URL (GET /api/alerts/config), DNS and the firewall; this check does not use "
            "a proxy (HTTPS_PROXY), POST /api/alerts/test-webhook does",
        )
    else:
        yield ok("webhook", f"{place} can be reached; POST /api/alerts/test-webhook sends a test")
