"""The kinds of machine to build archives for: system, processor and Python version."""

import re
from dataclasses import dataclass

from packaging.requirements import Requirement

_GLIBC = range(28, 4, -1)  # Debian 10 and RHEL 8 have 2.28
_SYSTEMS = {
    "linux-x86_64": ("linux", "x86_64", [f"manylinux_2_{n}_x86_64" for n in _GLIBC]),
    "linux-aarch64": ("linux", "aarch64", [f"manylinux_2_{n}_aarch64" for n in _GLIBC]),
    "linux-musl-x86_64": ("linux", "x86_64", ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]),
    "linux-musl-aarch64": ("linux", "aarch64", ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64"]),
    "macos-x86_64": ("darwin", "x86_64", ["macosx_13_0_x86_64"]),
    "macos-arm64": ("darwin", "arm64", ["macosx_14_0_arm64"]),
}
_OLDER_NAMES = {"manylinux_2_17": "manylinux2014", "manylinux_2_12": "manylinux2010"}


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine, with the name that `scripts/install.sh` gives the machine it runs on."""

    name: str  # linux-x86_64-cp311
    system: str  # sys.platform
    machine: str  # os.uname().machine
    python: tuple[int, int]
    platforms: tuple[str, ...]  # as wheels name them, the best first

    @property
    def markers(self) -> dict[str, str]:
        """The values of environment markers on this kind of machine (PEP 508)."""
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            "extra": "",
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Darwin" if self.system == "darwin" else "Linux",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": self.system,
        }

    def needs(self, requirement: Requirement) -> bool:
        """Return whether this kind of machine needs a requirement, wherever the code runs."""
        return requirement.marker is None or requirement.marker.evaluate(self.markers)

    @property
    def pip_options(self) -> list[str]:
        """The options that make pip download wheels for this kind of machine."""
        tag = f"{self.python[0]}{self.python[1]}"
        abis = [f"--abi={abi}" for abi in (f"cp{tag}", "abi3", "none")]
        platforms = [f"--platform={name}" for name in self.platforms]
        return ["--implementation=cp", f"--python-version={tag}", *abis, *platforms]


def target_named(name: str) -> Target:
    """Return the target of this name; raise ValueError with what was expected."""
    found = re.fullmatch(r"(.+)-cp(3)([0-9]{2})", name)
    if found is None or found[1] not in _SYSTEMS:
        systems = ", ".join(_SYSTEMS)
        raise ValueError(f"expected SYSTEM-cp3NN with a SYSTEM of {systems}, got {name!r}")
    system, machine, platforms = _SYSTEMS[found[1]]
    older = [new.replace(a, b) for new in platforms for a, b in _OLDER_NAMES.items() if a in new]
    return Target(
        name=name,
        system=system,
        machine=machine,
        python=(int(found[2]), int(found[3])),
        platforms=(*platforms, *older),
    )
