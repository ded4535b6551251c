#!/bin/sh
# Sends NDJSON from stdin to MikroScope, up to 500 records or 500 kB per request; prints each response:
#
#     MIKROSCOPE_URL=http://127.0.0.1:4310 MIKROSCOPE_TOKEN=backend-token send-logs.sh < app.ndjson
#     echo '{"level":"INFO","event":"backup.done","message":"Backup done"}' | send-logs.sh
#
# curl retries when the server is unreachable or busy (408, 429, 5xx), and waits as long as the server
# asks it to. If the server refuses a request (a line that is not JSON, a wrong token), the script ends:
# earlier requests are stored, the rest is not. The token is not on any command line, where other
# users of the machine could see it. Needs curl 7.76 or newer.
set -eu

url=${MIKROSCOPE_URL:-http://127.0.0.1:4310}
token=${MIKROSCOPE_TOKEN:-backend-token}

LC_ALL=C awk -v most=500 -v most_bytes=500000 '
    function finish() { if (count) print "]"; count = bytes = 0 }
    { sub(/\r$/, "") }
    NF {
        if (count == most || bytes + length($0) > most_bytes) finish()
        printf "%s%s", (count ? "," : "["), $0
        count++
        bytes += length($0) + 1
    }
    END { finish() }
' | while IFS= read -r batch; do
    printf '%s' "$batch" | curl --silent --show-error --fail-with-body \
        --retry 5 --retry-connrefused --max-time 30 \
        --header @/dev/fd/3 --header "Content-Type: application/json" \
        --data-binary @- "$url/api/ingest" 3<<HEADER
Authorization: Bearer $token
HEADER
    echo
done
