# shellcheck shell=bash
# The tools that stages need beyond those of a build, in exactly the versions that are checked in, each below
# `check_folder`; nothing is installed on the system but interpreters. Sourced by deploy.sh.

readonly tools=$repository/packaging/tools
readonly oldest_node=18

# Interpreters come from the distribution where this may install them; elsewhere their stages are skipped.
install_interpreters() {
    local packages=()
    if ! find_python >/dev/null; then packages+=(python3-venv); fi
    if ! has_node; then packages+=(nodejs npm); fi
    if ((${#packages[@]} == 0)) || ! has apt-get || [[ $(id -u) != 0 ]]; then return; fi
    (install_packages "${packages[@]}") || warn "stages that need them are skipped: ${packages[*]}"
}

# Prints the first interpreter that is new enough and can make an environment with pip.
find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
    return 1
}

has_node() {
    has npm && node -e "process.exit(parseInt(process.versions.node) < $oldest_node ? 1 : 0)" 2>/dev/null
}

python_tools() { printf '%s/python\n' "$(check_folder)"; }
node_tools() { printf '%s/node\n' "$(check_folder)"; }

need_python() {
    local python key
    python=$(find_python) || {
        say "Python 3.11 or newer with its venv module is missing (apt-get install python3-venv)"
        return 1
    }
    key=$("$python" --version && cat "$tools/requirements.txt") || return
    provide "$(python_tools)" "$key" install_python_tools "$python" ||
        say_unreachable "the packages of packaging/tools/requirements.txt"
}

install_python_tools() {
    "$1" -m venv "$(python_tools)" &&
        "$(python_tools)/bin/pip" install --disable-pip-version-check --no-cache-dir --quiet --retries 1 \
            --requirement "$tools/requirements.txt"
}

need_node() {
    local key
    if ! has_node; then
        say "Node.js $oldest_node or newer with npm is missing (apt-get install nodejs npm)"
        return 1
    fi
    key=$(cat "$tools/package-lock.json") || return
    provide "$(node_tools)" "$key" install_node_tools || say_unreachable "the packages of packaging/tools/package.json"
}

install_node_tools() {
    cp "$tools/package.json" "$tools/package-lock.json" "$(node_tools)" &&
        npm ci --prefix "$(node_tools)" --cache "$(node_tools)/cache" --ignore-scripts --no-audit --no-fund \
            --fetch-retries 1 &&
        rm -rf "$(node_tools)/cache"
}

# The generator and what its client uses; the test itself is built like any crate.
need_client_crates() {
    cargo fetch --locked --quiet --manifest-path "$repository/tests/clients/rust/Cargo.toml" >&2 ||
        say_unreachable "the crates of tests/clients/rust"
}

say_unreachable() {
    say "$1 could not be fetched, the reason is above; is a package registry reachable?"
    return 1
}
