"""Finds settings that let more people read the logs than their user may expect."""

import ipaddress
from typing import NamedTuple

from mikroscope.settings.options import Settings

_LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback")
_CREDENTIALS = "set --api-token, or --auth-username and --auth-password"


class Exposure(NamedTuple):
    """One way in which the logs are open: `text` says who can read them, `fix` what to set.

    `subject` is "access" or "cors".
    """

    subject: str
    text: str
    fix: str


def requires_credentials(settings: Settings) -> bool:
    """Return whether the API answers only clients with credentials."""
    return settings.api_token is not None or settings.auth_username is not None


def exposures(settings: Settings) -> list[Exposure]:
    """Return in which ways everybody can read the logs; none where credentials are required."""
    if requires_credentials(settings):
        return []
    found = []
    if not is_loopback(settings.host):
        host = settings.host or "any address of this machine"
        text = f"everyone who can connect to {host} can read all logs"
        found.append(Exposure("access", text, f"{_CREDENTIALS}, or listen on 127.0.0.1"))
    if "cors_allow_origin" not in settings.given:
        text = "any web page that is open in a browser here can read all logs (CORS is open)"
        fix = f"{_CREDENTIALS}, or --cors-allow-origin (* allows any page without this warning)"
        found.append(Exposure("cors", text, fix))
    return found


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can connect to this address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in _LOCAL_NAMES or host.lower().endswith(".localhost")
