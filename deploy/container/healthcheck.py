"""Exit with 0 if the server in this container answers /health; the image needs no curl."""

import ssl
import sys
import urllib.request

from mikroscope import resolve_settings

PATIENCE_S = 4


def main() -> int:
    """Request /health from the server, at the address that the environment configures."""
    settings = resolve_settings()
    anywhere = settings.host in ("", "0.0.0.0", "::")
    host = "127.0.0.1" if anywhere else settings.host
    host = f"[{host}]" if ":" in host else host
    url = f"{settings.protocol}://{host}:{settings.port}/health"
    # Not verified: the certificate names the host that clients use, not this address.
    tls = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
    try:
        with opener.open(url, timeout=PATIENCE_S):
            return 0
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
