"""Draws the picture at the top of the README: commands that are run for it, and what they print.

    python scripts/draw_terminal.py            write docs/pictures/terminal.svg
    python scripts/draw_terminal.py --check    fail if that file is not what a run draws now

The commands run in a directory of their own, with log files that are always the same. They need jq.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "terminal.svg"
COMMANDS = (
    "tail -qn 1 logs/*",
    "mikroscope index | jq -c '.report | {filesScanned, recordsInserted, parseErrors}'",
    """mikroscope query --text 'card refused' --limit 3 |
    jq -c '.entries[] | {timestamp, level, message, sourceFile}'""",
    "mikroscope aggregate --group-by level | jq -c '.buckets[]'",
)

_START_S = 1_771_410_000  # 2026-02-18T10:20:00Z
_RECORDS = 4_000  # of each service
_FAILURE_EVERY = 97
_CHAR, _LINE, _MARGIN, _BAR = 7.83, 19, 20, 34  # in pixels, at a font size of 13
_COLOURS = {
    "ERROR": "#ff7b72",
    "WARNING": "#e3b341",
    "INFO": "#7ee787",
}


def main() -> int:
    """Write the picture, or compare it; return the exit code."""
    drawn = draw(run())
    if sys.argv[1:] == ["--check"]:
        if PICTURE.exists() and PICTURE.read_text() == drawn:
            return 0
        print(f"out of date: {PICTURE.name}; run {Path(__file__).name}", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn)
    return 0


def run() -> list[tuple[str, str]]:
    """Run the commands in order; return each with its output."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_logs(directory / "logs")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "HOME": name, "LC_ALL": "C"}
        shell = ("sh", "-eu", "-c")
        return [
            (
                command,
                subprocess.run(
                    [*shell, command], cwd=directory, env=env, check=True, capture_output=True
                ).stdout.decode(),
            )
            for command in COMMANDS
        ]


def write_logs(logs: Path) -> None:
    """Write the logs of three services, each in the form of its own logger."""
    logs.mkdir()
    makers = (("orders.jsonl", _pino), ("payments.log", _zap), ("web.ndjson", _structlog))
    for offset, (name, make) in enumerate(makers):
        lines = []
        for number in range(_RECORDS):
            fails = number % _FAILURE_EVERY == 0 or number == _RECORDS - 1
            record = make(_START_S + number + offset, number, fails)
            lines.append(json.dumps(record, separators=(",", ":")))
        (logs / name).write_text("\n".join(lines) + "\n")


def _pino(time_s: int, number: int, fails: bool) -> dict[str, object]:
    message = "card refused" if fails else "order placed"
    return {
        "level": 50 if fails else 30,
        "time": time_s * 1000,
        "msg": message,
        "order": f"ORD-{number}",
    }


def _zap(time_s: int, number: int, fails: bool) -> dict[str, object]:
    message = "card refused by the bank" if fails else "card charged"
    return {
        "level": "error" if fails else "info",
        "ts": time_s + 0.25,
        "msg": message,
        "ms": number % 90,
    }


def _structlog(time_s: int, number: int, fails: bool) -> dict[str, object]:
    minutes, seconds = divmod(time_s - _START_S, 60)
    clock = f"{10 + (20 + minutes) // 60:02}:{(20 + minutes) % 60:02}:{seconds:02}"
    return {
        "event": "checkout: card refused" if fails else "checkout",
        "level": "warning" if fails else "info",
        "timestamp": f"2026-02-18T{clock}Z",
        "user": number,
    }


def draw(steps: list[tuple[str, str]]) -> str:
    """Return a terminal with commands and outputs, readable on a light and on a dark page."""
    rows: list[str] = []
    for command, output in steps:
        prompt = '<tspan class="p">$ </tspan>'
        for line in command.split("\n"):
            rows.append(f'{prompt}<tspan class="c">{escape(line)}</tspan>')
            prompt = ""
        rows += [_coloured(line) for line in output.splitlines()]
    columns = max(len(line) for step in steps for text in step for line in text.split("\n")) + 2
    width = round(columns * _CHAR + 2 * _MARGIN)
    height = _BAR + len(rows) * _LINE + _MARGIN
    texts = "\n".join(
        f'<text x="{_MARGIN}" y="{_BAR + 16 + number * _LINE}">{row}</text>'
        for number, row in enumerate(rows)
    )
    dots = "".join(f'<circle cx="{x}" cy="17" r="5" fill="#6e7681"/>' for x in (20, 38, 56))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">
<title>Logs of three loggers, indexed, searched and counted in a terminal</title>
<style>
text {{ font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #c9d1d9;
  white-space: pre }}
.p {{ fill: #7ee787 }} .c {{ fill: #ffffff; font-weight: 600 }}
</style>
<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#0d1117" \
stroke="#6e7681"/>
{dots}
{texts}
</svg>
"""


def _coloured(line: str) -> str:
    text = escape(line)
    for level, colour in _COLOURS.items():
        text = text.replace(f'"{level}"', f'"<tspan fill="{colour}">{level}</tspan>"')
    return text


if __name__ == "__main__":
    sys.exit(main())
