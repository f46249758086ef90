#!/usr/bin/env bash
# Deploys into a throw-away folder on a free port, uses the service as the README says, and takes it down again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/service.sh
source tests/service.sh

# expect_soon WHAT PATTERN COMMAND...: a change by another process is seen within seconds.
expect_soon() {
    local deadline=$((SECONDS + 15)) answer
    # shellcheck disable=SC2053
    until answer=$("${@:3}") && [[ $answer == $2 ]] || ((SECONDS >= deadline)); do sleep 0.2; done
    expect "$1" "$2" "$answer"
}

# ask CREDENTIALS PATH [CURL ARGUMENTS...]: the body, and the status on a line of its own.
ask() {
    curl --silent --show-error --user "$1" --write-out '\n%{http_code}' "${@:3}" "$url$2"
}

# processes_of FOLDER: the command lines that name it, where the system shows them.
processes_of() {
    local file command
    for file in /proc/[0-9]*/cmdline; do
        command=$(tr '\0' ' ' 2>/dev/null <"$file") || continue
        if [[ $command == *"$1"* ]]; then printf '%s\n' "$command"; fi
    done 2>/dev/null
}

# users_of FOLDER: as whom processes run whose program or folder lies in it.
users_of() {
    local process
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/exe") == "$1"/* || $(readlink "$process/cwd") == "$1"/* ]]; then
            stat --format %U "$process"
        fi
    done 2>/dev/null | sort -u
}

# The documents say port 5000, and their reader would see an error; here an error must be one.
run_shell_blocks() {
    local wrapper=$folder/wrapper
    mkdir -p "$wrapper"
    printf '#!/bin/sh\nexec "%s" --silent --show-error --fail-with-body "$@"\n' "$(command -v curl)" >"$wrapper/curl"
    chmod 0755 "$wrapper/curl"
    # shellcheck disable=SC2016
    sed -n '/^```sh$/,/^```$/{/^```/!p;}' "$1" | sed "s,http://localhost:5000,$url,g" >"$folder/blocks"
    expect "$1 has shell blocks" '?*' "$(cat "$folder/blocks")"
    PATH=$wrapper:$PATH bash -euo pipefail "$folder/blocks" >"$folder/answers" 2>&1 </dev/null ||
        fail "the shell blocks of $1: $(tail -n 20 "$folder/answers")"
    printf 'ok: %s\n' "every shell block of $1 runs"
}

expect "nothing is deployed yet" '*is not running*' "$(./deploy.sh status || true)"

greeting=$(EVENTLOGGER_ADMIN_PASSWORD=secret ./deploy.sh) || fail "up"
expect "up says where" "*http://localhost:$port*" "$greeting"
expect "the password is kept" secret "$(./deploy.sh password)"
if [[ $(id -u) == 0 ]]; then
    expect "for root and the service only" '-rw-r-----*root eventlogger *' "$(ls -l "$EVENTLOGGER_DATA_DIR/admin-password")"
    expect "the service and its cluster have a user of their own" eventlogger "$(users_of "$EVENTLOGGER_DATA_DIR")"
else
    expect "for its owner only" '-rw-------*' "$(ls -l "$EVENTLOGGER_DATA_DIR/admin-password")"
fi
expect "status is ready" '*ready' "$(./deploy.sh status)"

event='{"event_type":"old_account","user_identity":"Asad_Zaman","event_data":{"account_id":1346,"email":"john.doe@example.com"}}'
expect "an event is recorded" '*"id":*201' \
    "$(ask admin:secret /events --request POST --header 'Content-Type: application/json' --data "$event")"
expect "and found by a typed field" '*john.doe@example.com*200' "$(ask admin:secret '/events/query?user_identity=Asad_Zaman')"
expect "and by a field of its data" '*john.doe@example.com*200' "$(ask admin:secret '/events/query?account_id=1346')"
expect "another account is not" '*"events":[[]]*200' "$(ask admin:secret '/events/query?account_id=1347')"
expect "a wrong password is refused" '*401' "$(ask admin:wrong /events)"

expect "a second service over the same folder is refused" '*another instance*' \
    "$(EVENTLOGGER_SERVER__LISTEN=127.0.0.1:0 timeout 60 ./deploy.sh cli serve 2>&1 || true)"
./deploy.sh up >/dev/null || fail "up over a running service"
expect "an upgrade keeps the data" '*john.doe@example.com*200' "$(ask admin:secret '/events/query?account_id=1346')"

new=$(./deploy.sh password --reset) || fail "password --reset"
expect "a reset password is kept" "$new" "$(./deploy.sh password)"
expect_soon "and works" '*200' ask "admin:$new" /events
expect_soon "the old one does not" '*401' ask admin:secret /events

run_shell_blocks README.md
run_shell_blocks docs/MIGRATING.md
run_shell_blocks docs/QUERY.md

./deploy.sh down || fail "down"
expect "down leaves nothing running" '*is not running*' "$(./deploy.sh status || true)"
expect "nor answering" '*000' "$(ask admin:x /health/live 2>/dev/null || true)"
expect "nor a cluster" '' "$(processes_of "$EVENTLOGGER_DATA_DIR")"
./deploy.sh up >/dev/null || fail "up after down"
expect "data outlives the service" '*john.doe@example.com*200' "$(ask "admin:$new" '/events/query?account_id=1346')"
