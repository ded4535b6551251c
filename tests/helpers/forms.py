"""The three forms of a run: `check` is quick, `test` is everything, `long` is at full length.

`pytest --form=…` chooses one; `tests/conftest.py` sets `chosen` before it imports any test.
"""

from typing import Literal

from hypothesis import HealthCheck, settings

Form = Literal["check", "test", "long"]
chosen: Form = "test"

_EXAMPLES: dict[Form, float] = {"check": 0.1, "test": 1, "long": 5}


def choose(form: Form) -> None:
    """Set the form of this run and hypothesis's profile for it.

    `check` and `test` generate the same examples in every run; `long` generates new ones.
    """
    global chosen
    chosen = form
    settings.register_profile(
        form,
        max_examples=examples(60),
        derandomize=form != "long",
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(form)


def examples(number: int) -> int:
    """Return how many examples hypothesis generates where `make test` takes `number`."""
    return int(number * _EXAMPLES[chosen])


def amount(short: int, long: int) -> int:
    """Return `long` in the long form and `short` in the others."""
    return long if chosen == "long" else short
