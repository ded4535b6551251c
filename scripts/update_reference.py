"""Writes the generated part of README.md, the configuration reference, from the settings table."""

from pathlib import Path

from mikroscope.settings import reference_markdown

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- begin: configuration reference -->", "<!-- end: configuration reference -->"


def with_reference(text: str) -> str:
    """The README with the reference as it is now between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference_markdown().strip()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_reference(README.read_text()))
