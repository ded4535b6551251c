"""Writes openapi/openapi.json and openapi/openapi.yaml: what every server answers."""

from pathlib import Path

from mikroscope.server.openapi import document as openapi

DIRECTORY = Path(__file__).parent.parent / "openapi"


def main() -> None:
    """Replace both files."""
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / "openapi.json").write_bytes(openapi.as_json())
    (DIRECTORY / "openapi.yaml").write_bytes(openapi.as_yaml())


if __name__ == "__main__":
    main()
