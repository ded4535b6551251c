"""Finds the path that a client meant by one that does not exist."""

from collections.abc import Iterable

from mikroscope.errors.wording import nearest

# The last part of a path elsewhere -> the path that does the same here.
_MEANINGS: dict[str, str] = {
    **dict.fromkeys(("healthz", "livez", "live", "liveness", "status", "ping", "info"), "/health"),
    **dict.fromkeys(("readyz", "readiness"), "/ready"),
    **dict.fromkeys(("prometheus", "stats"), "/metrics"),
    **dict.fromkeys(("log", "search", "query", "entries", "events", "records"), "/api/logs"),
    **dict.fromkeys(("aggregations", "aggregates", "count", "counts"), "/api/logs/aggregate"),
    **dict.fromkeys(("push", "send", "write", "collect", "bulk", "_bulk"), "/api/ingest"),
    **dict.fromkeys(("rebuild", "refresh", "_refresh"), "/api/reindex"),
    **dict.fromkeys(("alerts", "alert", "policy", "webhook"), "/api/alerts/config"),
    **dict.fromkeys(("test", "testwebhook"), "/api/alerts/test-webhook"),
    **dict.fromkeys(("swagger", "swagger-ui", "redoc", "api-docs", "doc", "reference"), "/docs"),
    **dict.fromkeys(("swagger.json", "openapi"), "/openapi.json"),
    **dict.fromkeys(("swagger.yaml", "openapi.yml"), "/openapi.yaml"),
}


def nearest_path(path: str, known: Iterable[str]) -> str | None:
    """Return the known path that differs in case or spelling or means the same; else None."""
    known, wanted = [one for one in known if one != "/"], path.lower()
    last = wanted.rpartition("/")[2]
    meant = [one for one in known if one == wanted]
    meant += [one for one in known if one.rpartition("/")[2] == last]
    if not meant and (close := nearest(wanted, known)) is not None:
        meant = [close]
    meant += [one for one in known if one == _MEANINGS.get(last)]
    return meant[0] if meant else None
