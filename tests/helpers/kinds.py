"""The kinds of tests, how a test gets its kind, and the guard that holds every test to it.

A test that starts a process is of a kind that `make check` leaves out. Its kind follows from its
code: from `subprocess` and the like, used by the test itself, by its fixtures, or by what these
call in `tests`. A test whose process is started by the product names its kind with a mark.
"""

import inspect
import sys
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.helpers.paths import ROOT

SLOW_KINDS = ("process", "release", "docs", "browser")  # the kinds that `make check` leaves out
_STARTERS = {"subprocess", "pty", "multiprocessing", "playwright"}
_BY_DIRECTORY = {"release": "release", "documents": "docs"}
_EVENTS = {
    *("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
}


def mark(item: pytest.Function) -> None:
    """Mark a test with the kind that follows from its code and its directory."""
    starters = starters_of(item)
    if "playwright" in starters:
        item.add_marker("browser")
    elif starters or "release" in item.fixturenames:
        directory = item.path.relative_to(ROOT / "tests").parts[0]
        item.add_marker(_BY_DIRECTORY.get(directory, "process"))


def may_start_processes(item: pytest.Item) -> bool:
    """Return whether a test is of a kind that starts processes."""
    return any(item.get_closest_marker(kind) for kind in SLOW_KINDS)


def starters_of(item: pytest.Function) -> set[str]:
    """Return the modules that start processes, as used by a test and its fixtures."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    return reached({item.function, *(one.func for group in fixtures for one in group)})


def reached(functions: set[Any]) -> set[str]:
    """Return the modules that start processes, as used by functions and the functions they call."""
    found, seen, waiting = set[str](), set[Any](), list(functions)
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            starters, called = _uses(one)
            found |= starters
            waiting += called
    return found


@cache
def _uses(function: Any) -> tuple[set[str], list[Any]]:
    """Return the modules that start processes and the functions of `tests` that a function uses."""
    plain = inspect.unwrap(function)
    if not isinstance(plain, FunctionType):
        return set(), []
    starters, called = set[str](), list[Any]()
    for name in _names(plain.__code__):
        value = plain.__globals__.get(name)
        if isinstance(value, ModuleType):
            starters |= {value.__name__.partition(".")[0]} & _STARTERS
        elif isinstance(value, type):
            called += _methods(value)
        else:
            origin = getattr(value, "__module__", None) or ""
            starters |= {origin.partition(".")[0]} & _STARTERS
            called += [value] if callable(value) and origin.startswith("tests.") else []
    return starters, called


def _names(code: CodeType) -> Iterator[str]:
    """Return the names in code; attributes, too, which at worst marks a test wrongly."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _methods(owner: type) -> list[Any]:
    """Return the functions of a class of `tests` and of its base classes."""
    own = [one for one in owner.__mro__ if one.__module__.startswith("tests.")]
    members = [member for one in own for member in vars(one).values()]
    plain = [getattr(m, "fget", None) or getattr(m, "__func__", None) or m for m in members]
    return [one for one in plain if isinstance(one, FunctionType)]


class Guard:
    """Fails a test that starts a process although its kind does not."""

    def __init__(self) -> None:
        self._watched = False
        self.started: list[str] = []

    def install(self) -> None:
        """Watch this process until it ends."""
        sys.addaudithook(self._watch)

    def begin(self, item: pytest.Item) -> None:
        """Watch a test if its kind starts no process."""
        self.started.clear()
        self._watched = not may_start_processes(item)

    def end(self) -> None:
        """Stop watching."""
        self._watched = False

    def _watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._watched and event in _EVENTS:
            command = " ".join(map(str, arguments))[:200]
            self.started.append(f"{event} {command}")
            raise AssertionError(
                f"a test that is not marked starts a process ({event} {command}): "
                "give it @pytest.mark.process, so that `make check` leaves it out"
            )
