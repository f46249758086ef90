# shellcheck shell=bash
# Everything a change must pass, for people and CI alike. Sourced by deploy.sh.

check_everything() {
    require_supported_system
    unset EVENTLOGGER_BINARY DATABASE_URL
    install_prerequisites
    install_interpreters
    install_components
    cd "$repository"
    export SQLX_OFFLINE=true
    stage "format" cargo fmt --check
    stage "lints" cargo clippy --locked --all-targets -- --deny warnings
    stage "documentation" env RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --document-private-items
    stage "tests" run_tests "$@"
    stage "rules of stages" bash tests/stages.sh
    stage_with "python" "shell scripts" check_shell_scripts
    check_supply "$@"
    stage "deployment" run_script deploy
    if [[ $(id -u) == 0 ]]; then stage "deployment as an ordinary user" run_deploy_test_as_ordinary_user; fi
    stage "recovery" run_script recovery
    stage_with "slowhttptest" "slow clients" run_script slow_clients
    stage_with "python" "receipts with other tools" run_script_with_python verifiers
    stage_with "python" "client in Python" run_client_test python "$(python_tools)"
    stage_with "node" "client in TypeScript" run_client_test typescript "$(node_tools)"
    stage_with "client_crates" "client in Rust" run_client_test rust "$(check_folder)/rust"
    stage_with "python" "API against its document" run_api_test "$@"
    if [[ ${1:-} == --long ]]; then
        stage "bench" cargo run --locked --release --quiet --bin eventlogger -- bench
    fi
    summarise
}

install_components() {
    if ! has rustup; then return; fi
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
        rustup component add rustfmt clippy >&2 || warn "rustfmt or clippy could not be installed"
}

# Slow tests are marked #[ignore]. Backtraces of the failures that tests provoke on purpose would bury the others.
run_tests() {
    export RUST_BACKTRACE=0
    if [[ ${1:-} == --long ]]; then
        cargo test --locked -- --include-ignored
    else
        cargo test --locked
    fi
}

check_shell_scripts() {
    "$(python_tools)/bin/shellcheck" --external-sources deploy.sh .ci/run tests/*.sh scripts/*.sh
}

# run_script NAME ARGUMENTS...: tests/NAME.sh, with the binary that the tests were built with.
run_script() {
    EVENTLOGGER_BINARY=$(target_dir)/debug/eventlogger bash "tests/$1.sh" "${@:2}"
}

# The same with the tools of Python.
run_script_with_python() {
    TOOLS=$(python_tools) run_script "$@"
}

need_slowhttptest() {
    provide_package slowhttptest slowhttptest || { say "slowhttptest is missing (apt-get install slowhttptest)" && return 1; }
}

# run_client_test LANGUAGE TOOLS
run_client_test() {
    TOOLS=$2 run_script clients "$1"
}

run_api_test() {
    local examples=15
    if [[ ${1:-} == --long ]]; then examples=300; fi
    run_script_with_python schemathesis "$examples"
}

# Root never meets what only ordinary users meet. `nobody` gets a copy, as the repository may be closed to him.
# The cluster's tests repeat themselves in the same way.
run_deploy_test_as_ordinary_user() (
    copy=$(mktemp -d /tmp/evl.XXXXXX) && trap 'rm -rf "$copy"' EXIT || return
    mkdir "$copy/home" "$copy/tmp" || return
    git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from - |
        tar --extract --directory "$copy" || return
    cp "$(target_dir)/debug/eventlogger" "$copy/eventlogger" || return
    group=$(id -gn nobody) && chown -R "nobody:$group" "$copy" && cd "$copy" || return
    setpriv --reuid nobody --regid "$group" --clear-groups env HOME="$copy/home" TMPDIR="$copy/tmp" \
        EVENTLOGGER_BINARY="$copy/eventlogger" bash tests/deploy.sh
)
