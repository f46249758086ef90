#!/usr/bin/env bash
# What Dockerfile and compose.yaml promise, without a container engine: the binary as an unprivileged user on a
# read-only root, with a database on whose server its login is no superuser.
# Takes root (to become somebody else), bubblewrap and PostgreSQL. EVENTLOGGER_BINARY=… is the binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/expect.sh
source tests/expect.sh
explain() { tail -n 20 "$folder"/*.log; }

# value FILE PATTERN: what the first group of the pattern is in the file's only line that matches.
value() { sed -n "s|^ *$2.*|\\1|p" "$1"; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/evl-confined.XXXXXX")
chmod 0711 "$folder"
[[ $(id -u) == 0 ]] || fail "takes root"
trap clean_up EXIT
clean_up() {
    kill "${service:-}" 2>/dev/null && wait "$service" || true
    if [[ -d $folder/pg/data ]]; then as_postgres "$pg_bin/pg_ctl" -D "$folder/pg/data" -m immediate -s stop || true; fi
    rm -rf "$folder"
}

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }

# As the image's entry point does it.
start_database() {
    install -d -o postgres -g postgres -m 0700 "$folder/pg"
    database_port=$(free_port)
    local arguments
    arguments=$(value compose.yaml 'POSTGRES_INITDB_ARGS: \(.*\)')
    # shellcheck disable=SC2086 # several arguments
    as_postgres "$pg_bin/initdb" -D "$folder/pg/data" -U postgres $arguments --auth-local=trust --no-sync \
        --auth-host=scram-sha-256 >/dev/null
    as_postgres "$pg_bin/pg_ctl" -D "$folder/pg/data" -l "$folder/pg/log" -s -w \
        -o "-c listen_addresses=127.0.0.1 -c port=$database_port -c unix_socket_directories=$folder/pg" start
    POSTGRES_PASSWORD=database-secret as_postgres psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc \
        --host "$folder/pg" --port "$database_port" --username postgres --dbname postgres \
        --file packaging/database-login.sql
}

ask_database() {
    as_postgres psql --no-psqlrc --tuples-only --no-align --host "$folder/pg" --port "$database_port" \
        --username postgres --dbname eventlogger --command "$1"
}

# confined COMMAND...: in place of a subshell, in a container like that of the service.
confined() {
    exec bwrap --unshare-pid --unshare-ipc --unshare-uts --as-pid-1 --die-with-parent --new-session \
        --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
        --ro-bind "$folder/passwd" /etc/passwd --proc /proc --dev /dev --perms 1777 --tmpfs /tmp \
        --perms 0755 --dir /var --perms 0755 --dir /var/lib --bind "$folder/state" /var/lib/eventlogger --tmpfs /usr/local \
        --ro-bind "$EVENTLOGGER_BINARY" /usr/local/bin/eventlogger --remount-ro /usr/local --remount-ro / --clearenv --setenv PATH /usr/local/bin:/usr/bin \
        --setenv EVENTLOGGER_DATA_DIR /var/lib/eventlogger --setenv EVENTLOGGER_SERVER__LISTEN "127.0.0.1:$port" \
        --setenv EVENTLOGGER_ADMIN_PASSWORD secret --setenv EVENTLOGGER_DATABASE__PASSWORD database-secret \
        --setenv EVENTLOGGER_DATABASE__URL "postgres://eventlogger@127.0.0.1:$database_port/eventlogger" \
        setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
}

ask() { curl --silent --show-error --user admin:secret "${@:2}" "http://127.0.0.1:$port$1"; }

pg_bin=${PG_BIN:-$(find /usr/lib/postgresql/*/bin -name initdb -printf '%h\n' | sort -V | tail -n 1)}
uid=$(value Dockerfile 'USER \([0-9]*\):')
port=$(free_port)
EVENTLOGGER_BINARY=$(readlink -f "${EVENTLOGGER_BINARY:?}")

expect "the image's user is nobody who matters" '1000[0-9]' "$uid"
expect "its root is read-only" true "$(value compose.yaml 'read_only: \(.*\)')"
expect "it has no capabilities" '[[]ALL[]]' "$(value compose.yaml 'cap_drop: \(.*\)')"
expect "and gets none" '*no-new-privileges:true*' "$(value compose.yaml 'security_opt: \(.*\)')"

start_database
install -d -o "$uid" -g "$uid" -m 0700 "$folder/state"
printf 'root:x:0:0::/:/bin/sh\neventlogger:x:%s:%s::/var/lib/eventlogger:/bin/sh\n' "$uid" "$uid" >"$folder/passwd"
expect "it can write its state and /tmp, and nothing else" "/tmp /var/lib/eventlogger " \
    "$(confined sed -n '/^[^ ]* \/\(dev\|proc\)/d; s/^[^ ]* \([^ ]*\) [^ ]* rw[, ].*/\1/p' /proc/mounts | sort | tr '\n' ' ')"
(confined touch /tmp/x /var/lib/eventlogger/x) || fail "/tmp or its state cannot be written"

confined eventlogger serve >"$folder/service.log" 2>&1 &
service=$!
soon ask /health/ready --fail
event='{"event_type":"old_account","user_identity":"Asad_Zaman","event_data":{"account_id":1346}}'
expect "an event is recorded" '*"seq":*' "$(ask /events --header 'Content-Type: application/json' --data "$event")"
expect "and found" '*Asad_Zaman*' "$(ask '/events/query?account_id=1346')"
health=$(sed -n 's/^ *CMD \["bash", "-c", "\(.*\)"\]$/\1/p' Dockerfile | sed "s/\\\\\\(.\\)/\\1/g; s/5000/$port/")
expect "the image's health check is content" 'exec*:0' "$health:$( (confined bash -c "$health") >&2; echo $?)"
expect "writer and reader are separate roles" '*"privileges":"separate"*' "$(ask /status)"
expect "nothing is written but its state" '' "$(grep -i 'read-only\|permission denied' "$folder/service.log" || true)"
expect "its login is no superuser and owns its database only" 'eventlogger|f|f|t|eventlogger' "$(ask_database "
    SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, string_agg(datname, ',')
    FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid WHERE rolname = 'eventlogger' GROUP BY 1, 2, 3, 4")"
expect "the superuser has no password" t "$(ask_database "SELECT rolpassword IS NULL FROM pg_authid WHERE oid = 10")"

kill -TERM "$(pgrep --parent "$service" --newest)"
wait "$service" && status=0 || status=$?
unset service
expect "a stop is clean" 0 "$status"
