# shellcheck shell=bash
# A deployment of its own in a throw-away folder on a free port, gone when the script ends. Sourced by tests.
# EVENTLOGGER_BINARY=… tests that binary; otherwise deploy.sh builds the dev profile.

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    ./deploy.sh logs >&2 || true
    exit 1
}

free_port() {
    local port
    while port=$((20000 + RANDOM)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/evl.XXXXXX")
# Root's PostgreSQL runs as another user, who passes through here.
chmod 0711 "$folder"
port=$(free_port)
# shellcheck disable=SC2034 # for those who source this
url=http://127.0.0.1:$port
export EVENTLOGGER_DATA_DIR=$folder/data EVENTLOGGER_SERVER__LISTEN=127.0.0.1:$port
export EVENTLOGGER_BUILD_PROFILE=${EVENTLOGGER_BUILD_PROFILE:-dev}
trap './deploy.sh down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
