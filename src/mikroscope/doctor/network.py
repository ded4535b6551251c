"""The port, the TLS pair, who may ask, and the webhook's host."""

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

_TIMEOUT_S = 3.0
_SOON_DAYS = 21
_MAY_BE_OURS = (errno.EADDRINUSE, errno.EACCES)  # EACCES: the server may have more rights
_LOOPBACK = ("localhost", "127.", "::1")


class Address(NamedTuple):
    """Where a server listens."""

    protocol: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """A URL that leads there from this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- compared, not listened on
        return f"{self.protocol}://{f'[{host}]' if ':' in host else host}:{self.port}"


def check_port(address: Address, holder: str | None, is_held: bool) -> Finding:
    """Whether the port is free, or taken by the server that uses the index.

    `holder` is that server's process, `is_held` whether there may be one.
    """
    if address.port == 0:
        return ok("port", "any free one is taken")
    refusal = _try_to_listen(address)
    if refusal is None:
        return _check_free_port(address, holder)
    health = _health(address) if refusal.errno in _MAY_BE_OURS else None
    if health is not None:
        return _check_health(address, health, is_held)
    return problem(
        "port",
        f"{address.host}:{address.port} cannot be listened on: {_reason(refusal)}",
        "choose another --port (or --host), or end what listens there (ss -ltnp)",
    )


def _check_free_port(address: Address, holder: str | None) -> Finding:
    if holder is None:
        return ok("port", f"{address.host}:{address.port} is free")
    return warning(
        "port",
        f"process {holder} uses the index, and nothing answers at {address.url}",
        "ask with the flags and the environment that the server was started with; if it is "
        "the same port, look at the server's log and restart it",
    )


def _check_health(address: Address, health: dict[str, Any], is_held: bool) -> Finding:
    if health.get("service") != "mikroscope":
        return problem(
            "port",
            f"something else than MikroScope answers at {address.url}",
            "choose another --port, or end what listens there (ss -ltnp)",
        )
    if not is_held:
        return problem(
            "port",
            f"a MikroScope server with another index answers at {address.url}",
            "choose another --port, or ask with the flags and the environment of that server",
        )
    if health.get("ok") is not True:
        said = "; ".join(map(str, health.get("problems", [])))
        return problem("port", f"the server at {address.url} says: {said}", "mend what it names")
    return ok("port", f"a server answers at {address.url}, and nothing is wrong with it")


def _health(address: Address) -> dict[str, Any] | None:
    """What answers there; None if nothing does, something empty if it is no JSON."""
    try:
        with httpx.Client(verify=False, trust_env=False, timeout=_TIMEOUT_S) as client:  # noqa: S501 -- of this machine, and nothing secret is sent
            found = client.get(f"{address.url}/health").json()
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return {} if _is_accepting(address) else None
    except (httpx.HTTPError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_accepting(address: Address) -> bool:
    """Whether somebody takes connections: he may not speak TLS."""
    host = urlsplit(address.url).hostname
    with contextlib.suppress(OSError), socket.create_connection((host, address.port), _TIMEOUT_S):
        return True
    return False


def _try_to_listen(address: Address) -> OSError | None:
    """Why nobody may listen there; None if it is free."""
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
        return f"the host is not known ({refusal.strerror})"
    if refusal.errno == errno.EACCES:
        return "only root may listen on ports below 1024"
    return os.strerror(refusal.errno) if refusal.errno else str(refusal)


def check_access(host: str, is_protected: bool) -> Finding:
    """Whether the API is open to other machines without credentials."""
    if is_protected:
        return ok("access", "the API asks for credentials")
    if host.startswith(_LOOPBACK):
        return ok("access", "the API is open to all on this machine, and to no other")
    return warning(
        "access",
        f"whoever reaches {host} may read all logs",
        "set --api-token, or --auth-username and --auth-password, or listen on 127.0.0.1",
    )


# --- TLS ------------------------------------------------------------------------------------


def check_expiry(certificate: Path, key: Path, now: datetime) -> Finding:
    """How long a certificate, which belongs to its key, is valid. Raises OSError."""
    try:
        not_after = _not_after(certificate, key)
    except ssl.SSLCertVerificationError as error:
        return problem("certificate", f"{certificate}: {error.verify_message}", "renew it")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC)
    text = f"{certificate} is valid until {until:%Y-%m-%d}"
    if (until - now).days < _SOON_DAYS:
        return warning("certificate", text, "renew it, and restart the server")
    return ok("certificate", text)


def _not_after(certificate: Path, key: Path) -> str:
    """The end of the validity, by a handshake in memory that trusts this certificate alone."""
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
    """Whether alerts have somewhere to go; with `online`, whether that can be reached."""
    if not enabled or url is None:
        yield ok("webhook", "alerts are off")
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    place = f"{parts.hostname}:{port}"  # a URL may hold a key
    if not online:
        yield ok("webhook", f"alerts go to {place} (--online tries to reach it)")
        return
    try:
        socket.create_connection((str(parts.hostname), port), _TIMEOUT_S).close()
    except OSError as error:
        yield problem(
            "webhook",
            f"{place} cannot be reached: {error.strerror or error}",
            "look at the URL (GET /api/alerts/config), the name server, the firewall; a proxy "
            "that HTTPS_PROXY names is not asked here: POST /api/alerts/test-webhook does",
        )
    else:
        yield ok("webhook", f"{place} can be reached; POST /api/alerts/test-webhook sends a test")
