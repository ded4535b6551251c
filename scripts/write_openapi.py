"""Writes the OpenAPI document of the server's operations: make openapi.

It is written twice, as JSON and as YAML: into openapi/, and into the package, from where every
server serves it.
"""

from pathlib import Path

import msgspec
import yaml

from mikroscope.server.app import OPERATIONS
from mikroscope.server.openapi.document import make_document

ROOT = Path(__file__).parent.parent
DIRECTORIES = (ROOT / "openapi", ROOT / "src" / "mikroscope" / "server" / "static")


class Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block, and items of a list below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent the items of a list, which PyYAML does not do inside a mapping."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        """Write a value that occurs twice two times."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def files() -> dict[str, bytes]:
    """The files by name."""
    document = make_document(OPERATIONS)
    text = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=4096)
    json = msgspec.json.format(msgspec.json.encode(document), indent=2)
    return {"openapi.json": json + b"\n", "openapi.yaml": text.encode()}


def main() -> None:
    """Write all files."""
    for name, content in files().items():
        for directory in DIRECTORIES:
            (directory / name).write_bytes(content)


if __name__ == "__main__":
    main()
