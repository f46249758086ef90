#!/usr/bin/env bash
# The recipes of docs/INTEGRITY.md for backing up and restoring: all of it together, and a database that is older than
# what was signed last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/service.sh
source tests/service.sh

up() { ./deploy.sh up >"$folder/up" 2>&1 || fail "up: $(cat "$folder/up")"; }
answer() { curl --silent --show-error --user "admin:$(./deploy.sh password)" "${@:2}" "$url$1"; }
record() {
    answer /events --header 'Content-Type: application/json' \
        --data "{\"event_type\":\"$1\",\"user_identity\":\"u\",\"event_data\":{}}"
}
key() { answer /integrity/key | sed 's/.*"vkey":"\([^"]*\)".*/\1/'; }

kept=$folder/kept
install -d -m 0755 "$kept"
up
expect "an event is recorded" '*"receipt":*' "$(record first)"
# Where the database, the signing key and the latch are.
data=$(find "$EVENTLOGGER_DATA_DIR" -name signing-key -printf '%h')

./deploy.sh down >/dev/null
cp --archive "$EVENTLOGGER_DATA_DIR" "$folder/backup"
up
record lost >"$kept/lost.json"
expect "so is one after the backup" '*"receipt":*' "$(cat "$kept/lost.json")"
vkey=$(key)

./deploy.sh down >/dev/null
rm -rf "$data/pg"
cp --archive "$folder/backup/${data#"$EVENTLOGGER_DATA_DIR"}/pg" "$data/pg"
up
expect "an older database is read" '*"event_type":"first"*' "$(answer '/events?event_type=first')"
expect "and not written to" '*"reason":"signed_state"*' "$(record refused)"
expect "the log says why" '*the database is older than its last signed state*' "$(./deploy.sh logs)"
expect "the loss is declared" '*Epoch 1 begins*' \
    "$(./deploy.sh cli epoch open --reason 'the backup of before had to be restored')"
expect "the log goes on" '*/default/e1*' "$(record second)"
expect "what was lost can still be shown to have been recorded" '*right, by the key that the policy pins*' \
    "$(./deploy.sh cli verify "$kept/lost.json" --key "$vkey" 2>&1 || true)"

./deploy.sh down >/dev/null
rm -rf "$EVENTLOGGER_DATA_DIR"
cp --archive "$folder/backup" "$EVENTLOGGER_DATA_DIR"
up
expect "all of it together is as it was" "$vkey" "$(key)"
expect "and goes on" '*/default\\n*' "$(record third)"
