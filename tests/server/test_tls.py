"""A server listens on any address, with or without TLS."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import uvloop

from mikroscope import start_server
from mikroscope.errors import ConfigurationError
from mikroscope.server.http.handshakes import TlsServer
from tests.helpers.server import (
    PRODUCERS,
    Connect,
    Serve,
    has_ipv6,
    health,
    logs,
    refusal,
    settings_in,
)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(serve: Serve, connect: Connect) -> None:
    """An IPv6 address is in brackets in the URL, and answers."""
    server = serve(host="::1")
    assert server.url == f"http://[::1]:{server.port}"
    assert health(connect(server))["ok"] is True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with cert.pem and key.pem for 127.0.0.1, and the key with a password."""
    directory = tmp_path_factory.mktemp("tls")
    openssl(
        directory,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    )
    openssl(
        directory, "ec", "-in", "key.pem", "-aes128", "-passout", "pass:x", "-out", "locked.pem"
    )
    openssl(directory, "ecparam", "-name", "prime256v1", "-genkey", "-out", "other.pem")
    return directory


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def tls(directory: Path, key: str = "key.pem", cert: str = "cert.pem") -> dict[str, object]:
    files = {"tls_cert_path": directory / cert, "tls_key_path": directory / key}
    return {"protocol": "https", **files}


def test_https(serve: Serve, connect: Connect, certificate: Path) -> None:
    """With a certificate and its key the server speaks https."""
    server = serve(**tls(certificate), **PRODUCERS)
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    client = connect(server, verify=context, headers={"authorization": "Bearer backend-token"})
    assert server.url == f"https://127.0.0.1:{server.port}"
    assert client.post("/api/ingest", json=[{"over": "TLS"}]).status_code == 200
    upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}
    answer = client.post("/api/ingest", json=[{"over": "TLS, with an upgrade"}], headers=upgrade)
    assert answer.json()["accepted"] == 1
    assert [one["data"]["over"] for one in logs(client)] == ["TLS, with an upgrade", "TLS"]


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_tls_versions(
    serve: Serve, certificate: Path, version: ssl.TLSVersion, is_taken: bool
) -> None:
    """The server accepts TLS 1.2 and later only."""
    server = serve(**tls(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        try:
            context.wrap_socket(connection).close()
            was_taken = True
        except OSError:
            was_taken = False
    assert was_taken is is_taken


def test_key_of_another_certificate(tmp_path: Path, certificate: Path) -> None:
    """A key of another certificate is an error that says so."""
    text = refusal(tmp_path, **tls(certificate, key="other.pem"))
    assert text.endswith("the key does not belong to the certificate")


def test_plain_http_to_an_https_port(serve: Serve, connect: Connect, certificate: Path) -> None:
    """A client that speaks plain HTTP to an HTTPS port is disconnected; the others are served."""
    server = serve(**tls(certificate))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.port}/health", trust_env=False)
    assert health(connect(server))["ok"] is True


async def _shake_hands_among_silent_ones(certificate: Path, silent: int) -> tuple[int, int]:
    """Return how many silent clients stay connected and how many of five others are served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trust = ssl.create_default_context(cafile=certificate / "cert.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    server = TlsServer(listener, context, Echo, limit=10, seconds=60)
    address = listener.getsockname()
    opened = [await asyncio.open_connection(*address) for _ in range(silent)]
    served = 0
    for _ in range(5):
        reader, writer = await asyncio.open_connection(
            *address, ssl=trust, server_hostname="127.0.0.1"
        )
        writer.write(b"hello")
        served += await asyncio.wait_for(reader.readexactly(5), 30) == b"hello"
        writer.close()
    left = silent - await _closed(reader for reader, _ in opened)
    server.close()
    await server.wait_closed()
    listener.close()
    for _, writer in opened:
        writer.close()
    return left, served


async def _closed(readers: Iterable[asyncio.StreamReader]) -> int:
    """Return how many connections the server has closed."""
    closed = 0
    for reader in readers:
        with suppress(TimeoutError):
            closed += await asyncio.wait_for(_end_of(reader), 0.05)
    return closed


async def _end_of(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionError):
        await reader.read()
    return True


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_handshakes_that_never_end(
    certificate: Path, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Clients that are silent displace each other, and keep no other client out."""
    with asyncio.Runner(loop_factory=make_loop) as runner:
        left, served = runner.run(_shake_hands_among_silent_ones(certificate, silent=50))
    assert (left <= 10, served) == (True, 5)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cert": "none.pem"}, "--tls-cert: "),
        ({"key": "none.pem"}, "--tls-key: "),
        ({"cert": "."}, "--tls-cert: "),  # there, and not to be read
        ({"key": "other.pem"}, "--tls-cert, --tls-key: "),
        ({"key": "locked.pem"}, "--tls-cert, --tls-key: "),
        ({"cert": "key.pem"}, "--tls-cert, --tls-key: "),
    ],
)
def test_wrong_certificate(
    tmp_path: Path, certificate: Path, files: dict[str, str], expected: str
) -> None:
    """Files that are missing, do not match or need a password are an error with their names."""
    text = refusal(tmp_path, **tls(certificate, **files))
    assert text.startswith(expected)
    assert all(str(certificate / name) in text for name in files.values())
    with pytest.raises(ConfigurationError):
        start_server(settings_in(tmp_path, **tls(certificate, **files)))
