"""Runs a server: its socket, TLS, the thread of the event loop, and a graceful stop."""

import asyncio
import errno
import logging
import os
import resource
import socket
import ssl
import sys
import threading
from contextlib import ExitStack, suppress
from typing import Self

import uvicorn

from mikroscope.errors import ConfigurationError, MikroScopeError
from mikroscope.server.app import App, make_app
from mikroscope.server.http.handshakes import TlsServer
from mikroscope.server.http.protocol import DEFAULT_LIMITS, TimeLimits, make_protocol
from mikroscope.settings.exposure import exposures
from mikroscope.settings.options import Settings
from mikroscope.sidecar import Sidecar

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_CONNECTIONS = 4096
_HANDSHAKE_PART = 4  # of so many connections, one may be in its TLS handshake
_BODY_BYTES = 67_108_864  # of all incomplete bodies together
_TICK_S = 0.1
_FIXES = {
    errno.EADDRINUSE: "; stop the program that listens there, or choose another --port",
    errno.EADDRNOTAVAIL: "; set --host to an address of this machine",
    errno.EACCES: "; ports below 1024 are for root: choose another --port",
}
_GRACE_S = 10  # for requests that are running when the server stops


class RunningServer:
    """A server in threads of its own; `close` it, or use it in a `with` statement."""

    def __init__(self, settings: Settings, limits: TimeLimits = DEFAULT_LIMITS) -> None:
        check_tls(settings)
        with ExitStack() as undo:
            self._listener = undo.enter_context(_listen(settings))
            self._sidecar = Sidecar(settings)
            undo.callback(self._sidecar.close)
            app = make_app(self._sidecar)
            self._auth = app.auth
            config = _uvicorn_config(settings, app, limits)
            self._uvicorn = _Uvicorn(config, limits.head)
            undo.pop_all()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{settings.protocol}://{_url_host(settings.host)}:{self.port}"
        self._thread = threading.Thread(target=self._serve, name="mikroscope-http", daemon=True)
        self._closed = threading.Lock()

    def start(self) -> Self:
        """Return once requests are answered. Raises MikroScopeError."""
        _warn_of_exposures(self._sidecar.settings)
        self._sidecar.start(self.url)
        self._thread.start()
        while not self._uvicorn.started:
            self._thread.join(0.005)
            if not self._thread.is_alive():
                self._sidecar.close()
                raise MikroScopeError("the HTTP server could not be started; see its log")
        return self

    def close(self) -> None:
        """Stop accepting, finish running requests, drain the queue, close the index."""
        if not self._closed.acquire(blocking=False):
            return
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._uvicorn.stop)
        self._sidecar.give_up_waits()
        self._thread.join()
        self._sidecar.close()

    def reload(self, settings: Settings) -> None:
        """Take over credentials, the TLS certificate and the alert policy; requests go on.

        Other options keep their values until a restart. Raises MikroScopeError, with nothing
        changed, if something of it cannot be used.
        """
        check_tls(settings)
        self._sidecar.reload(settings)
        self._auth.reload(settings)
        _warn_of_exposures(self._sidecar.settings)
        tls = self._uvicorn.config.ssl
        if tls is not None and settings.tls_cert_path is not None:
            tls.load_cert_chain(settings.tls_cert_path, settings.tls_key_path)

    def wait_for_first_notes(self, timeout_s: float) -> None:
        """Wait until the log has named the files that are not indexed, or for this time."""
        self._sidecar.wait_for_first_notes(timeout_s)

    @property
    def lost_records(self) -> int:
        """Number of records that were accepted with 202 and could not be written before the end."""
        return self._sidecar.writer.lost_records

    def is_alive(self) -> bool:
        """Return whether requests are still answered."""
        return self._thread.is_alive()

    def is_responsive(self, timeout_s: float) -> bool:
        """Return whether the event loop, which answers requests, runs a call within `timeout_s`."""
        reached = threading.Event()
        try:
            self._loop.call_soon_threadsafe(reached.set)
        except RuntimeError:  # it is closed
            return False
        return reached.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        with self._listener:
            loop = self._uvicorn.config.get_loop_factory()
            with asyncio.Runner(loop_factory=loop) as runner:
                self._loop = runner.get_loop()
                runner.run(self._uvicorn.serve(sockets=[self._listener]))


def start_server(settings: Settings) -> RunningServer:
    """Start a server; it runs in threads of its own until it is closed.

    `url` and `port` say where it listens. Raises MikroScopeError if it cannot start.
    """
    return RunningServer(settings).start()


def _warn_of_exposures(settings: Settings) -> None:
    for _, text, fix in exposures(settings):
        logger.warning("%s: %s", text, fix)


class _Uvicorn(uvicorn.Server):
    """Uvicorn with what it has no option for: a time limit for TLS handshakes, a prompt stop."""

    def __init__(self, config: uvicorn.Config, handshake_s: float) -> None:
        super().__init__(config)
        self._handshake_s = handshake_s
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Begin the graceful stop; only the event loop's thread may call this."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """Tick ten times a second, as uvicorn does, but end at once after `stop`."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            await asyncio.wait([stopped], timeout=_TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once where there is no connection; uvicorn would still wait for 0.1 s."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)  # a connection that was just accepted is known then
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop, config = asyncio.get_running_loop(), self.config

        def make_connection() -> asyncio.Protocol:
            return config.http_protocol_class(
                config=config,  # type: ignore[call-arg]
                server_state=self.server_state,
                app_state={},
            )

        if config.ssl is None:
            self.servers = [
                await loop.create_server(make_connection, sock=one, backlog=config.backlog)
                for one in sockets or []
            ]
        else:
            limit, seconds = max(1, _max_connections() // _HANDSHAKE_PART), self._handshake_s
            self.servers = [
                TlsServer(one, config.ssl, make_connection, limit=limit, seconds=seconds)  # type: ignore[misc]
                for one in sockets or []
            ]
        self.started = True


def _max_connections() -> int:
    """Half of the descriptors; the rest is for files, and for connections being closed."""
    return min(_CONNECTIONS, _max_descriptors() // 2)


def _backlog() -> int:
    """The number of connections that may be accepted at once before any is closed."""
    return min(_BACKLOG, _max_descriptors() // 4)


def _max_descriptors() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(
            address[:2],
            family=family,
            backlog=_backlog(),
            dualstack_ipv6=address[0] == "::" and socket.has_dualstack_ipv6(),
        )
    except socket.gaierror as error:
        raise MikroScopeError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    except OSError as error:  # the text of the error repeats the address
        reason = os.strerror(error.errno) if error.errno else error
        fix = _FIXES.get(error.errno or 0, "")
        raise MikroScopeError(f"cannot listen on {host}:{port}: {reason}{fix}") from error
    except UnicodeError as error:
        raise MikroScopeError(f"cannot listen on {host}:{port}: no such host") from error


def check_tls(settings: Settings) -> None:
    """Raise ConfigurationError unless the certificate and its key can be used."""
    certificate, key = settings.tls_cert_path, settings.tls_key_path
    if settings.protocol != "https" or certificate is None or key is None:
        return
    for flag, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{flag}: {path} cannot be read: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With an empty password, OpenSSL refuses an encrypted key instead of prompting.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        reason = getattr(error, "reason", None) or "they cannot be used"
        if reason == "KEY_VALUES_MISMATCH":
            reason = "the key does not belong to the certificate"
        raise ConfigurationError(
            f"--tls-cert, --tls-key: expected a certificate and its private key without a "
            f"password, both in PEM format, got {certificate} and {key}: {reason}"
        ) from error


def _uvicorn_config(settings: Settings, app: App, limits: TimeLimits) -> uvicorn.Config:
    https = settings.protocol == "https"
    body_bytes = max(_BODY_BYTES, 4 * settings.ingest_max_body_bytes)
    config = uvicorn.Config(
        app.asgi,
        http=make_protocol(limits, app.cors, _max_connections(), body_bytes),
        timeout_keep_alive=limits.idle,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_backlog(),
        workers=1,  # otherwise uvicorn reads WEB_CONCURRENCY
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=settings.tls_cert_path if https else None,
        ssl_keyfile=settings.tls_key_path if https else None,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def _url_host(host: str) -> str:
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 -- compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
