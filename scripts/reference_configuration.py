"""Writes the reference of the configuration from the options in `settings/options.py`."""

from mikroscope.settings.options import Option, options


def configuration_markdown() -> str:
    """A section with a table for each group of options."""
    groups = dict.fromkeys(option.group for option in options())
    return "\n".join(_group(group) for group in groups)


def _group(group: str) -> str:
    rows = "".join(_row(option) for option in options() if option.group == group)
    return (
        f"### {group}\n\n"
        "| Flag | Environment | JSON key | Default | What it does |\n"
        "|---|---|---|---|---|\n"
        f"{rows}"
    )


def _row(option: Option) -> str:
    key = f"`{option.key}`" if option.key else "–"
    default = "none" if option.default == "none" else f"`{option.default}`"
    floor = f" At least {option.floor}." if option.floor is not None else ""
    floor = floor.replace(".", ", or 0.") if option.zero_is_off else floor
    return f"| `{option.flag}` | `{option.env}` | {key} | {default} | {option.help}{floor} |\n"
