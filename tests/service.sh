# shellcheck shell=bash
# A deployment of its own in a throw-away folder on a free port, gone when the script ends. Sourced by tests.
# EVENTLOGGER_BINARY=… tests that binary; otherwise deploy.sh builds the dev profile.

# shellcheck source=tests/expect.sh
source tests/expect.sh
explain() { ./deploy.sh logs; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/evl.XXXXXX")
# Root's PostgreSQL runs as another user, who passes through here.
chmod 0711 "$folder"
port=$(free_port)
# shellcheck disable=SC2034 # for those who source this
url=http://127.0.0.1:$port
export EVENTLOGGER_DATA_DIR=$folder/data EVENTLOGGER_SERVER__LISTEN=127.0.0.1:$port
export EVENTLOGGER_BUILD_PROFILE=${EVENTLOGGER_BUILD_PROFILE:-dev}
trap './deploy.sh down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
