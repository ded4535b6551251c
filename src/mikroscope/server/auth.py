"""Checks credentials: bearer tokens and Basic auth, compared in constant time."""

import base64
import binascii
import hmac
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from mikroscope.settings.options import Settings

_FOR_API = "the API token (--api-token)"
_FOR_INGEST = "a producer token (--ingest-producers)"


class BasicUser(NamedTuple):
    """The user of Basic auth."""

    name: str
    password: str


class Auth:
    """The credentials that one server accepts."""

    def __init__(self, settings: Settings) -> None:
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Accept the credentials of these settings from now on, and no others."""
        name, password = settings.auth_username, settings.auth_password
        self._user = BasicUser(name, password) if name and password else None
        self._api_token = settings.api_token
        self._producers = settings.ingest_producers

    def require_api(self, request: Request) -> None:
        """Accept a request that may use the API: any, if no credentials are set. Raises 401."""
        if self._api_token is None and self._user is None:
            return
        token, user = _credentials(request)
        if self._is_api_token(token) or self._is_user(user):
            return
        accepted = _FOR_API if self._api_token is not None else None
        misused = "This token may send logs but not query."
        is_misused = self._producer_of(token) is not None
        raise self._unauthorized(request, accepted, misused if is_misused else None)

    def require_producer(self, request: Request) -> str:
        """The id of the producer that sends a request. Raises 401."""
        token, user = _credentials(request)
        producer = self._producer_of(token)
        if producer is not None:
            return producer
        if self._user is not None and self._is_user(user):
            return self._user.name
        accepted = _FOR_INGEST if self._producers else None
        misused = "This token may query but not send."
        raise self._unauthorized(request, accepted, misused if self._is_api_token(token) else None)

    def _is_api_token(self, token: str | None) -> bool:
        return self._api_token is not None and _same(token, self._api_token)

    def _producer_of(self, token: str | None) -> str | None:
        found = None
        for known, producer in self._producers:  # all of them, so that the time reveals nothing
            if _same(token, known):
                found = producer
        return found

    def _is_user(self, given: BasicUser | None) -> bool:
        if self._user is None or given is None:
            return False
        same_name = _same(given.name, self._user.name)
        return _same(given.password, self._user.password) and same_name

    def _unauthorized(
        self, request: Request, token: str | None, misused: str | None
    ) -> HTTPException:
        """Return a 401 that says why, and what is accepted: `token`, if any, or the user.

        `misused` says what the given token is for, if it is valid elsewhere.
        """
        schemes = ["Bearer"] if token else []
        ways = [token] if token else []
        if token and not misused:
            ways = [f"{token} in 'Authorization: Bearer …'"]
        if self._user is not None:
            schemes.append("Basic")
            ways.append("Basic auth (--auth-username, --auth-password)")
        is_given = bool(request.headers.get("authorization"))
        reason = misused or ("Wrong credentials." if is_given else "No credentials.")
        challenge = ", ".join(f'{scheme} realm="mikroscope"' for scheme in schemes)
        text = f"Unauthorized: {reason} Use {' or '.join(ways)}"
        return HTTPException(401, text, {"www-authenticate": challenge})


def _credentials(request: Request) -> tuple[str | None, BasicUser | None]:
    """The bearer token or the Basic auth user of a request."""
    header = request.headers.get("authorization", "").encode("latin-1")  # the bytes as sent
    scheme, _, value = header.decode("utf-8", "replace").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip(), None
    if scheme.lower() != "basic":
        return None, None
    try:
        name, colon, password = (
            base64.b64decode(value.strip(), validate=True).decode().partition(":")
        )
    except (binascii.Error, ValueError):
        return None, None
    return None, BasicUser(name, password) if colon else None


def _same(given: str | None, expected: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())
