#!/usr/bin/env bash
# Runs real loggers and stores their output as tests/fixtures/loggers/*.ndjson.
#
# The loggers are installed into a temporary directory and run there with a clock that advances only
# between lines, so that a second run writes the same times. Whatever identifies this machine (paths,
# host, process ids) is replaced. The expectations next to the fixtures, in expected.json, are written
# by hand: review the difference after a change here.
#
# Needs: node 20 or later with npm, python3 3.11 or later, and the package registries.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(dirname "$here")/tests/fixtures/loggers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TZ=UTC LC_ALL=C.UTF-8 NO_COLOR=1 PYTHONUTF8=1

mkdir -p "$work/app" "$out"
cp "$here"/logger_fixtures/*.cjs "$here"/logger_fixtures/*.py "$work/app/"

npm install --prefix "$work/app" --no-audit --no-fund --omit=optional --ignore-scripts \
    --loglevel=error pino@10.4.0 winston@3.19.0 bunyan@2.0.5
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    structlog==26.1.0 python-json-logger==4.2.0 freezegun==1.5.5

scrub() {
    sed -E \
        -e "s#$work/app#/app#g" \
        -e 's#"hostname":"[^"]*"#"hostname":"host"#g' \
        -e 's#"(pid|process)":( ?)[0-9]+#"\1":\21#g'
}

cd "$work/app"
for logger in pino winston bunyan; do
    node "$logger.cjs" | scrub >"$out/$logger.ndjson"
done
for logger in structlog python-json-logger stdlib; do
    "$work/venv/bin/python" "run_${logger//-/_}.py" | scrub >"$out/$logger.ndjson"
done
wc -l "$out"/*.ndjson
