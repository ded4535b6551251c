"""The components of an archive, as a CycloneDX document."""

import hashlib
import json
import uuid
import zipfile
from datetime import UTC, datetime
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release_targets import Target

_NAMESPACE = uuid.UUID("5b0a8b53-4b6e-5d0c-9a53-6c1c3ee0b0de")
_SCALAR_VERSION = "mikroscope/server/static/scalar.VERSION"


def sbom(own: Path, wheels: list[Path], target: Target, epoch: int) -> bytes:
    """Return the SBOM of our wheel and its dependencies; the same wheels give the same bytes."""
    program = _component(own) | {"type": "application"}
    components = [_component(wheel) for wheel in sorted(wheels)] + [_scalar(own)]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": program,
        },
        "components": components,
        "dependencies": _dependencies([own, *sorted(wheels)], components, target),
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))
    return json.dumps(content | {"serialNumber": f"urn:uuid:{serial}"}, indent=2).encode() + b"\n"


def _component(wheel: Path) -> dict[str, Any]:
    metadata = _metadata(wheel)
    name, version = canonicalize_name(metadata["Name"]), metadata["Version"]
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": _licenses(metadata),
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }


def _scalar(own: Path) -> dict[str, Any]:
    """Return the component for the script of /docs, which our wheel contains."""
    with zipfile.ZipFile(own) as opened:
        version = opened.read(_SCALAR_VERSION).decode().strip()
    purl = f"pkg:npm/%40scalar/api-reference@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "group": "@scalar",
        "name": "api-reference",
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": "MIT"}}],
    }


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        name = next(n for n in opened.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(opened.read(name).decode())


def _licenses(metadata: Message) -> list[dict[str, Any]]:
    if metadata["License-Expression"]:
        return [{"expression": metadata["License-Expression"]}]
    classifiers = metadata.get_all("Classifier", [])
    names = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: ")]
    names = names or [(metadata["License"] or "unknown").splitlines()[0]]
    return [{"license": {"name": name}} for name in names]


def _dependencies(
    wheels: list[Path], components: list[dict[str, Any]], target: Target
) -> list[dict[str, Any]]:
    refs = {component["name"]: component["bom-ref"] for component in components}
    found = []
    for number, wheel in enumerate(wheels):
        metadata = _metadata(wheel)
        needs = [refs["api-reference"]] if number == 0 else []
        for text in metadata.get_all("Requires-Dist", []):
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            needs += [refs[name]] if target.needs(requirement) and name in refs else []
        ref = f"pkg:pypi/{canonicalize_name(metadata['Name'])}@{metadata['Version']}"
        found.append({"ref": ref, "dependsOn": sorted(set(needs))})
    return found
