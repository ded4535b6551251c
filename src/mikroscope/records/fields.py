"""Finds a field in nested objects and renders its value as text."""

from collections.abc import Iterator

from mikroscope.records.parsing import Fields

BOOLEAN_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
"""Lower-case texts that mean true or false in records and in queries."""


def scalar_text(value: object) -> str | None:
    """Return the text that field filters compare; None for arrays and objects.

    Strings are unchanged; booleans and null become `true`, `false` and `null`; numbers are printed
    as in ECMAScript (Number::toString of ECMA-262), so `1.0` and `1` are both `1`. Integers keep
    every digit.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    return None


def _float_text(number: float) -> str:
    # repr() yields the same digits as ECMAScript (the shortest that round-trip), but switches to
    # an exponent elsewhere and pads it.
    mantissa, _, exponent = repr(number).partition("e")
    if not exponent:
        return "0" if number == 0 else mantissa.removesuffix(".0")
    power = int(exponent)
    if power > 20 or power < -6:
        return f"{mantissa}e{power:+d}"
    sign, digits = "-" if number < 0 else "", mantissa.lstrip("-").replace(".", "")
    if power > 0:
        return f"{sign}{digits.ljust(power + 1, '0')}"
    return f"{sign}0.{'0' * (-power - 1)}{digits}"


def field_values(fields: Fields, name: str) -> Iterator[object]:
    """Yield every value that `name` refers to.

    The key `a.b` itself comes first, then `b` inside the object `a`, at every dot and every depth.
    """
    if name in fields:
        yield fields[name]
    start = name.find(".")
    while start != -1:
        inner = fields.get(name[:start])
        if isinstance(inner, dict):
            yield from field_values(inner, name[start + 1 :])
        start = name.find(".", start + 1)


def field_text(fields: Fields, name: str) -> str | None:
    """Return the text of the first scalar that `name` refers to; None if there is none."""
    texts = (scalar_text(value) for value in field_values(fields, name))
    return next((text for text in texts if text is not None), None)
