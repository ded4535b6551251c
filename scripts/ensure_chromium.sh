#!/bin/sh
# Installs Debian's Chromium, which tests/server/test_docs_page.py needs, if it is missing and this user may
# install it. Never fails: the test reports what is missing.
set -u

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
[ "${MIKROSCOPE_SKIP_BROWSER_TESTS:-}" != 1 ] || exit 0
command -v apt-get >/dev/null || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    exit 0
fi

echo "Chromium is missing, and a test needs it: installing it with apt-get" >&2
log=$(mktemp)
{
    $as_root apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --no-install-recommends chromium
} >"$log" 2>&1 </dev/null || { echo "the installation failed:" && tail -n 5 "$log"; } >&2
rm -f "$log"
