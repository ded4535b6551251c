"""Modules import only from lower levels, and only where Settings and SQLite belong."""

import ast
from pathlib import Path

import pytest

import mikroscope

PACKAGE = Path(mikroscope.__file__).parent
LEVELS = [
    {
        *("errors", "timestamps", "logformat", "allocator"),
        *("logging.jsontext", "logging.fields", "logging.losses", "logging.buffer"),
        *("logging.transport", "logging.complaints", "logging.delivery", "logging.sender"),
        *("logging.handler", "logging"),
    },
    {"settings_values", "settings_sources", "settings", "records"},
    {
        "demo",
        "query",
        "logfiles",
        "logwriter",
        "mockdata",
        "preflight",
        "webhook",
        "alerts",
        "cadence",
        "chores",
        "workers",
        "tally",
    },
    {
        *("archive", "logcopy", "doctor.findings", "doctor.table", "doctor.places"),
        *("doctor.logs", "doctor.network"),
    },
    {"stores", "stores.base", "stores.sqlite", "ingest", "alerter", "health", "answers"},
    {"rotation", "loading"},
    {"indexer", "retention"},
    {"worker_state", "submissions", "worker", "watcher", "rebuild", "maintenance"},
    {"status"},
    {"service"},
    {
        *("indexing", "server", "server.auth", "server.cors", "server.yaml", "server.operations"),
        *("server.openapi", "server.docs_page", "server.responses", "server.limits"),
        *("server.requests", "server.metrics", "server.room", "server.protocol"),
        *("server.app", "server.run", "server.notify", "backup", "restore"),
        *("doctor.index", "doctor"),
    },
    {"cli_parts", "cli_operations", "cli", "__init__"},
    {"__main__"},
]
# Inside one level: a module may import those that stand before it.
CHAINS = [
    ["logging.jsontext", "logging.fields", "logging.losses", "logging.buffer", "logging.sender"],
    ["logging.losses", "logging.complaints", "logging.delivery", "logging.sender"],
    ["logging.jsontext", "logging.losses", "logging.transport", "logging.delivery"],
    ["logging.transport", "logging.sender", "logging.handler"],
    ["logging.fields", "logging.losses", "logging.buffer", "logging.delivery", "logging.handler"],
    ["logging.losses", "logging.handler", "logging"],
    ["settings_values", "settings_sources", "settings"],
    ["stores.base", "stores.sqlite"],
    ["logfiles", "logwriter"],
    ["rotation", "loading"],
    ["worker_state", "submissions", "worker"],
    ["health", "answers"],
    ["archive", "logcopy"],
    ["doctor.findings", "doctor.table"],
    ["doctor.findings", "doctor.places"],
    ["doctor.findings", "doctor.logs"],
    ["doctor.findings", "doctor.network"],
    ["backup", "restore"],
    ["server.run", "doctor.index", "doctor"],
    ["cli_parts", "cli_operations", "cli"],
    ["server.yaml", "server.operations", "server.openapi", "server.app"],
    ["server.auth", "server.docs_page", "server.requests", "server.metrics", "server.app"],
    ["server.responses", "server.limits", "server.app"],
    [
        "server.cors",
        "server.responses",
        "server.room",
        "server.protocol",
        "server.app",
        "server.run",
    ],
]
SEE_SETTINGS = {
    *("status", "service", "indexing", "server.auth", "server.run", "backup", "restore", "doctor"),
    *("cli_parts", "cli", "__init__"),
}
OPEN_STORES = {"service", "indexing", "cli", "backup", "restore", "doctor.index"}


def _modules() -> dict[str, set[str]]:
    """Every module of the package, and which others it imports at its top level."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        name = "stores.sqlite" if name.startswith("stores.sqlite") else name
        found.setdefault(name, set()).update(_imports(path))
    return found


def _imports(path: Path) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "mikroscope":
            package, _, rest = node.module.partition(".")
            if package == "mikroscope":
                imported.add("stores.sqlite" if rest.startswith("stores.sqlite") else rest)
    return imported


MODULES = _modules()


def _level(module: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if module in names)


def _may_import(module: str, other: str) -> bool:
    if _level(other) < _level(module) or other == module:
        return True
    return any(
        module in chain and other in chain and chain.index(other) < chain.index(module)
        for chain in CHAINS
    )


@pytest.mark.parametrize("module", MODULES)
def test_module_has_a_level(module: str) -> None:
    """Every module has its place in the map."""
    assert any(module in names for names in LEVELS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """A module imports only from lower levels, or from those before it in its chain."""
    if module == "__init__":  # the public face
        return
    wrong = {other for other in MODULES[module] if not _may_import(module, other)}
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_settings_are_seen_by_few(module: str) -> None:
    """Only what builds the parts sees Settings; the rest takes plain values."""
    if "settings" in MODULES[module]:
        assert module in SEE_SETTINGS


@pytest.mark.parametrize("module", MODULES)
def test_sqlite_stays_behind_the_protocol(module: str) -> None:
    """Only what opens a store knows which one it is."""
    if "stores.sqlite" in MODULES[module] and module != "stores.sqlite":
        assert module in OPEN_STORES


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_module_opens_with_its_purpose(path: Path) -> None:
    """A module says in one sentence what it owns."""
    assert path.stat().st_size == 0 or ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_module_is_short(path: Path) -> None:
    """A file of more than 400 lines holds a second module."""
    assert len(path.read_text().splitlines()) <= 400
