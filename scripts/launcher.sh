#!/bin/sh
# Starts MikroScope with a Python that fits the packages in lib/.
# MIKROSCOPE_PYTHON selects one. Downloads nothing, and uses only the packages in lib/.
set -eu

self=$0
while [ -L "$self" ]; do
    link=$(readlink "$self")
    case $link in
        /*) self=$link ;;
        *) self=$(dirname "$self")/$link ;;
    esac
done
home=$(CDPATH="" cd -- "$(dirname -- "$self")" && pwd -P)

fits() {
    "$1" -I -c 'import os, sys
python = ".".join(map(str, sys.version_info[:2]))
kind = (sys.implementation.name, "t" in sys.abiflags, python, sys.platform, os.uname().machine)
sys.exit(kind != ("cpython", False, "@PYTHON@", "@SYSTEM@", "@MACHINE@"))' 2>/dev/null
}

python=${MIKROSCOPE_PYTHON:-}
if [ -n "$python" ]; then
    fits "$python" || {
        echo "mikroscope: MIKROSCOPE_PYTHON: expected CPython @PYTHON@ for @SYSTEM@ @MACHINE@, got $python" >&2
        exit 1
    }
elif [ -r "$home/python.path" ]; then # written by the installer
    IFS= read -r python <"$home/python.path"
    [ -x "$python" ] || python=
fi
if [ -z "$python" ]; then
    for candidate in python@PYTHON@ python3 python; do
        if fits "$candidate"; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "mikroscope: these packages need CPython @PYTHON@ for @SYSTEM@ @MACHINE@, but none was found: install it, set MIKROSCOPE_PYTHON to its path, or use the archive for the Python you have" >&2
    exit 1
fi

# Exported, so that child processes such as the demo find the packages too.
unset PYTHONHOME
export PYTHONPATH="$home/lib" PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1
exec "$python" -m mikroscope "$@"
