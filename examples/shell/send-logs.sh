#!/bin/sh
# Sends NDJSON from stdin to MikroScope, 500 records a request, and prints each answer:
#
#     MIKROSCOPE_URL=http://127.0.0.1:4310 MIKROSCOPE_TOKEN=backend-token send-logs.sh < app.ndjson
#     echo '{"level":"INFO","event":"backup.done","message":"Backup done"}' | send-logs.sh
#
# curl tries again when the server cannot be reached or is busy (408, 429, 5xx), and waits as long
# as it asks for. Needs curl 7.76 or newer.
set -eu

url=${MIKROSCOPE_URL:-http://127.0.0.1:4310}
token=${MIKROSCOPE_TOKEN:-backend-token}

awk -v most=500 '
    NF { printf "%s%s", (count % most ? "," : "["), $0; if (++count % most == 0) print "]" }
    END { if (count % most) print "]" }
' | while IFS= read -r batch; do
    printf '%s' "$batch" | curl --silent --show-error --fail-with-body \
        --retry 5 --retry-connrefused --max-time 30 \
        --header "Authorization: Bearer $token" --header "Content-Type: application/json" \
        --data-binary @- "$url/api/ingest"
    echo
done
