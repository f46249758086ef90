# shellcheck shell=bash
# What the shell tests have in common. Sourced by them; each may say in `explain` what else there is to know of a
# failure.

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    explain >&2 || true
    exit 1
}

explain() { :; }

# expect WHAT PATTERN TEXT
expect() {
    # shellcheck disable=SC2053 # it is a pattern
    [[ $3 == $2 ]] || fail "$1: expected $2, got: $3"
    printf 'ok: %s\n' "$1"
}

# soon COMMAND...: what another process is about to do.
soon() {
    local deadline=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "not within a minute: $*"
        sleep 0.1
    done
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
