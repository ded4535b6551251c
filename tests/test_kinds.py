"""The guard limits every test to its kind, and the kind follows from the code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest
from tests.helpers import forms, kinds


def start_a_process() -> None:
    """Start a process that does nothing."""
    subprocess.run([sys.executable, "-c", ""], check=True)


class Starter:
    """Starts a process, too."""

    def start(self) -> None:
        """Start a process."""
        start_a_process()


def plain() -> int:
    """Start nothing."""
    return len(Path(os.curdir).name)


def by_a_class() -> None:
    """Start a process through a class and another function."""
    Starter().start()


@pytest.mark.parametrize(("function", "starters"), [(plain, set()), (by_a_class, {"subprocess"})])
def test_kind_follows_from_the_code(function: object, starters: set[str]) -> None:
    """The guard finds code that starts processes through functions and classes of tests."""
    assert kinds.reached({function}) == starters


def test_guard() -> None:
    """A test that is not marked cannot start a process, and fails even if it survives that."""
    with pytest.raises(AssertionError, match="a test that is not marked starts a process"):
        os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    assert conftest.GUARD.started
    conftest.GUARD.started.clear()


@pytest.mark.parametrize("form", ["check", "test", "long"])
def test_amounts(form: forms.Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick form generates a quarter of the examples, the long one five times as many."""
    monkeypatch.setattr(forms, "chosen", form)
    assert forms.examples(40) == {"check": 4, "test": 40, "long": 200}[form]
    assert forms.amount(3, 30) == (30 if form == "long" else 3)
