"""Checks origins of web pages: they have to be written exactly as browsers send them."""

from ipaddress import ip_address
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "an origin such as 'https://console.example', or * for any"


def check_origin(text: str) -> str:
    """Return an origin that browsers send, or `*`.

    Raises ValueError, which says what was expected, and what to write instead.
    """
    origin = _origin_of(text)
    if origin is None:
        raise ValueError(_EXAMPLE)
    if origin != text:
        raise ValueError(f"'{origin}' instead of {text!r}: browsers send an origin in this form")
    return origin


def _origin_of(text: str) -> str | None:
    """Return the origin of the pages at an address; None if the address cannot be understood."""
    if text in ("*", "null"):  # "null" is the origin of local files and sandboxed frames
        return text
    address = text if "://" in text else _with_scheme(text.lstrip("/"))
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, _ascii(parts.hostname or ""), parts.port
    except ValueError:  # an invalid port, IPv6 address or name
        return None
    if scheme == "file":
        return "null"
    is_host = bool(host) and set("* \\%").isdisjoint(host) and not parts.netloc.endswith(":")
    if not scheme or not is_host:
        return None
    host = f"[{host}]" if ":" in host else host
    shown_port = "" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}"
    return f"{scheme}://{host}{shown_port}"


def _with_scheme(address: str) -> str:
    """Add the scheme that pages on this host probably have."""
    host = urlsplit(f"//{address}").hostname or ""
    is_local = host == "localhost" or host.endswith(".localhost") or _is_address(host)
    return f"{'http' if is_local else 'https'}://{address}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _ascii(host: str) -> str:
    """Return a host as browsers send it. Raises ValueError."""
    if host.isascii():
        return host
    import idna  # its tables are large and rarely needed; httpx depends on it

    return idna.encode(host, uts46=True).decode()
