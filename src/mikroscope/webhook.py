"""Posts JSON to a webhook: with a time limit, and again where trying again can help."""

import logging
import ssl
from collections.abc import Callable
from functools import cache

from mikroscope.errors import MikroScopeError

logger = logging.getLogger(__name__)

_RETRIED = frozenset((408, 429))  # and every 5xx


class DeliveryError(MikroScopeError):
    """A webhook did not take what was posted; the text says why, and names no URL."""


class _RefusedError(DeliveryError):
    """An answer that another try would not change."""


def deliver(
    url: str,
    body: bytes,
    *,
    timeout_s: float,
    attempts: int,
    backoff_s: float,
    pause: Callable[[float], bool],
) -> None:
    """Post until it is taken (2xx), refused, or the attempts are used up.

    Between two attempts `pause` is called with seconds, doubling from `backoff_s`; it returns
    True to give up. Raises DeliveryError.
    """
    for attempt in range(1, attempts + 1):
        try:
            _post(url, body, timeout_s)
            return
        except _RefusedError:
            raise
        except DeliveryError as error:
            if attempt == attempts:
                raise DeliveryError(f"{error} ({attempts} attempts)") from error
            logger.info("webhook attempt %d of %d failed: %s", attempt, attempts, error)
            if pause(backoff_s * 2 ** (attempt - 1)):
                raise DeliveryError(f"{error} (given up, the server stops)") from error


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that the system trusts (also by SSL_CERT_FILE), and those of certifi."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _post(url: str, body: bytes, timeout_s: float) -> None:
    import httpx  # only who sends alerts needs it

    headers = {"content-type": "application/json", "user-agent": "mikroscope"}
    try:
        # The answer's body does not matter, so it is not waited for.
        with httpx.stream(
            "POST", url, content=body, headers=headers, timeout=timeout_s, verify=_trusted()
        ) as answer:
            status = answer.status_code
    except httpx.TimeoutException:
        raise DeliveryError(f"no answer within {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise DeliveryError(f"cannot be reached: {error}") from None
    if status in _RETRIED or status >= 500:
        raise DeliveryError(f"answered with status {status}")
    if not 200 <= status < 300:
        raise _RefusedError(f"answered with status {status}")
