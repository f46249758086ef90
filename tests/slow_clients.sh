#!/usr/bin/env bash
# slowhttptest against a running service: slow header fields (Slowloris), slow bodies (R-U-Dead-Yet), overlapping ranges
# and slow reading. Meanwhile others must be served, and record events.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/service.sh
source tests/service.sh

readonly connections=300 seconds=12

# attack NAME OPTIONS...
attack() {
    local name=$1 recorded=0
    shift
    slowhttptest -c $connections -r 150 -i 1 -l $seconds -p 5 "$@" >"$folder/attack" 2>&1 &
    while kill -0 $! 2>/dev/null; do
        expect_quietly "an event is recorded during $name" 201 "$(record)"
        recorded=$((recorded + 1))
    done
    wait $! || fail "slowhttptest ($name): $(cat "$folder/attack")"
    # It asks for itself now and then whether the service answers.
    if ! grep --quiet "service available:.*YES" "$folder/attack" || grep --quiet "service available:.*NO" "$folder/attack"; then
        fail "the service was not available during $name: $(cat "$folder/attack")"
    fi
    ((recorded > 1)) || fail "nothing was recorded during $name"
    printf 'ok: %s, and %d events were recorded meanwhile\n' "$name" "$recorded"
}

expect_quietly() {
    [[ $3 == "$2" ]] || fail "$1: expected $2, got: $3"
}

record() {
    curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' --user admin:secret \
        --header 'Content-Type: application/json' --data '{"event_type":"t","user_identity":"u"}' \
        "$url/events?receipt=none"
}

EVENTLOGGER_ADMIN_PASSWORD=secret EVENTLOGGER_SERVER__HEAD_TIMEOUT_SECONDS=3 EVENTLOGGER_SERVER__REQUEST_TIMEOUT_SECONDS=3 \
    EVENTLOGGER_SERVER__WRITE_TIMEOUT_SECONDS=3 ./deploy.sh up >"$folder/up" 2>&1 || fail "up: $(cat "$folder/up")"

attack "slow header fields" -H -u "$url/" -x 10
attack "slow bodies" -B -u "$url/events" -f application/json -s 8192 -x 10
attack "overlapping ranges" -R -u "$url/openapi.json" -t HEAD -a 10 -b 3000
attack "slow reading" -X -u "$url/docs/swagger-ui.js" -k 3 -n 1 -w 10 -y 20 -z 32

expect "the service is ready afterwards" '*ready' "$(./deploy.sh status)"
