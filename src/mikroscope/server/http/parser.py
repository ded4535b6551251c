"""Parses requests; one that asks for an upgrade is parsed like one that does not."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from httptools import HttpParserUpgrade, HttpRequestParser


class Head(NamedTuple):
    """The parsed head of a request."""

    method: bytes
    url: bytes
    version: str
    headers: Iterable[tuple[bytes, bytes]]

    def without_upgrade(self) -> bytes:
        """Return the head as bytes, without the `Upgrade` header; names are in lower case."""
        lines = [b"%b %b HTTP/%b" % (self.method, self.url, self.version.encode())]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


class Receiver(Protocol):
    """Receives the callbacks of httptools, and keeps the head that they deliver."""

    def head(self) -> Head:
        """Return the head of the request that is being parsed."""


class RequestParser:
    """The parser of one connection.

    A server ignores an upgrade that it does not support (RFC 9110, section 7.8), and the body
    belongs to the request as ever. Httptools instead ends such a request after its head. It is
    therefore parsed a second time, without the header that asks for the upgrade. `should_upgrade`
    is true during the first time, whose head and end the receiver has to ignore.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._renew()

    def _renew(self) -> None:
        parser = HttpRequestParser(self._receiver)
        # Whatever follows a last request is ignored, so that the request gets its response.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed = parser.feed_data
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive
        self.should_upgrade = parser.should_upgrade

    def feed_data(self, data: bytes) -> None:
        """Parse the next bytes. Raises httptools.HttpParserError."""
        rest = memoryview(data)
        while (end := self._end_of_upgrade(rest)) is not None:
            head = self._receiver.head().without_upgrade()
            self._renew()
            self._feed(head)
            rest = rest[end:]

    def _end_of_upgrade(self, data: memoryview) -> int | None:
        """Parse up to the end of a head that asks for an upgrade; None if there is none."""
        try:
            self._feed(data)
        except HttpParserUpgrade as upgrade:
            end: int = upgrade.args[0]
            return end
        return None
