"""The layers of the package: imports go only to earlier layers, and a package has no cycle."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import mikroscope

PACKAGE = Path(mikroscope.__file__).parent
# An import goes only to a line above; packages on one line do not import each other.
LAYERS = (
    "errors _version json_body",
    "disk job_status",
    "records",
    "settings query logfiles ingest",
    "stores alerts",
    "indexing maintenance",
    "sidecar index",
    "server backup",
    "doctor demo",
    "cli",
    "__init__ __main__",
)
ISLANDS = ("logging",)  # imports nothing of ours, and nothing imports it
SEE_SETTINGS = ("settings", "sidecar", "server.run", "server.auth", "backup", "doctor", "cli")
# The names that other packages import from stores; only `open_store` knows the stores.
NEUTRAL_STORE_MODULES = ("stores", "stores.base", "stores.administration")
ROOT_MODULES = 8
LONGEST_MODULE = 400


class Import(NamedTuple):
    """One import of a module of ours, anywhere in a file."""

    path: Path
    line: int
    module: str  # the importing module without "mikroscope."
    target: str  # the imported one; "" is the package itself
    names: tuple[str, ...]

    def __str__(self) -> str:
        place = f"{self.path.relative_to(PACKAGE.parent)}:{self.line}"
        return f"{place} imports {self.target or 'mikroscope'}"


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imports(path: Path) -> Iterator[Import]:
    for node in ast.walk(_tree(path)):
        found: list[tuple[str, tuple[str, ...]]] = []
        if isinstance(node, ast.Import):
            found = [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found = [(node.module or "", tuple(alias.name for alias in node.names))]
        for target, names in found:
            if target == "mikroscope" or target.startswith("mikroscope."):
                target = target.removeprefix("mikroscope").lstrip(".")
                yield Import(path, getattr(node, "lineno", 0), _name(path), target, names)


@cache
def _all_imports() -> list[Import]:
    return [one for path in MODULES.values() for one in _imports(path)]


def _top(module: str) -> str:
    return module.partition(".")[0] if module else "__init__"


def _layer(module: str) -> int:
    return next(n for n, line in enumerate(LAYERS) if _top(module) in line.split())


def test_imports_go_only_to_earlier_layers() -> None:
    """An import, also one inside a function, goes to the same package or to an earlier layer."""
    wrong = [
        f"{one}: {_top(one.module)} may import only from the layers above it in LAYERS"
        for one in _all_imports()
        if _top(one.module) not in (*ISLANDS, "__init__")
        and _top(one.target) != _top(one.module)
        and (_top(one.target) in ISLANDS or _layer(one.target) >= _layer(one.module))
    ]
    wrong += [
        f"{one}: {_top(one.module)} is an island"
        for one in _all_imports()
        if _top(one.module) in ISLANDS and _top(one.target) not in ISLANDS
    ]
    assert not wrong, "\n".join(wrong)


def _targets(one: Import) -> Iterator[str]:
    """Return the modules that an import names; an imported name may be a module itself."""
    for name in one.names or ("",):
        module = f"{one.target}.{name}".strip(".")
        yield module if module in MODULES else one.target


def test_no_package_has_a_cycle() -> None:
    """The modules of a package can be ordered so that each imports only earlier ones."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for one in _all_imports():
        if _top(one.module) == _top(one.target):
            graph[one.module] |= {target for target in _targets(one) if target != one.module}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these modules import each other: {' -> '.join(error.args[1])}")


def test_few_see_settings() -> None:
    """Few modules use Settings, none outside stores/ uses a concrete store or the public API, and
    the root stays small.
    """
    wrong = [
        f"{one}: outside stores/, import only {', '.join(NEUTRAL_STORE_MODULES)}"
        for one in _all_imports()
        if _top(one.target) == "stores" and _top(one.module) != "stores"
        if not set(_targets(one)) <= set(NEUTRAL_STORE_MODULES)
    ]
    for one in _all_imports():
        inside = f"{one.module}."
        may_see = any(inside.startswith(f"{name}.") for name in SEE_SETTINGS)
        if _top(one.target) == "settings" and "Settings" in one.names and not may_see:
            wrong.append(f"{one}: Settings are seen only by {', '.join(SEE_SETTINGS)}")
        if one.target == "":
            wrong.append(f"{one}: the public face is for others; import the module itself")
    wrong = [text for text in wrong if not text.startswith("mikroscope/__init__.py")]
    root = [path.name for path in PACKAGE.glob("*.py")]
    if len(root) > ROOT_MODULES:
        wrong.append(f"{len(root)} modules are at the root, at most {ROOT_MODULES}: {root}")
    assert not wrong, "\n".join(wrong)


def test_modules_are_short_and_say_what_they_own() -> None:
    """A module starts with a docstring and has at most 400 lines."""
    wrong = []
    for module, path in MODULES.items():
        text = path.read_text()
        if text and not ast.get_docstring(_tree(path)):
            wrong.append(f"{module} does not say what it owns")
        if len(text.splitlines()) > LONGEST_MODULE:
            wrong.append(f"{module} has more than {LONGEST_MODULE} lines")
    assert not wrong, "\n".join(wrong)
