#!/usr/bin/env bash
# Rewrites .sqlx, what the build knows of the fixed SQL statements, from a throw-away PostgreSQL with the
# migrations in it. To be run after a change of a statement or a migration; commit the result with it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${PG_BIN:-}" ]; then
    PG_BIN=$(pg_config --bindir 2>/dev/null || true)
    for folder in /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] && PG_BIN=$folder
    done
fi
[ -x "$PG_BIN/initdb" ] || { echo "no initdb found; set PG_BIN to the folder that has it" >&2; exit 1; }

folder=$(mktemp -d)
as_owner=()
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root.
    chmod 755 "$folder"
    install -d -o postgres "$folder/pg"
    as_owner=(runuser -u postgres --)
else
    mkdir "$folder/pg"
fi
stop() {
    "${as_owner[@]}" "$PG_BIN/pg_ctl" -D "$folder/pg/data" -m immediate -s stop || true
    rm -rf "$folder"
}
trap stop EXIT

"${as_owner[@]}" "$PG_BIN/initdb" -D "$folder/pg/data" -U eventlogger -A trust -E UTF8 --locale=C \
    --lc-ctype=C.UTF-8 --no-sync >/dev/null
"${as_owner[@]}" "$PG_BIN/pg_ctl" -D "$folder/pg/data" -l "$folder/pg/log" -s -w \
    -o "-c listen_addresses= -c unix_socket_directories=$folder/pg -c fsync=off" start
for migration in migrations/*.sql; do
    psql -h "$folder/pg" -U eventlogger -d postgres -q -v ON_ERROR_STOP=1 -f "$migration"
done

rm -rf .sqlx
mkdir .sqlx
# Only the macros of our own crate write there; touching it makes them run again.
touch src/lib.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$PWD/.sqlx \
    DATABASE_URL="postgres:///postgres?host=$folder/pg&user=eventlogger" cargo check --locked
echo "$(find .sqlx -name '*.json' | wc -l) statements are prepared"
