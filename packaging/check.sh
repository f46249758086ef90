# shellcheck shell=bash
# Everything a change must pass, for people and CI alike. Sourced by deploy.sh.

passed=()
failed=()
skipped=()

check_everything() {
    require_supported_system
    unset EVENTLOGGER_BINARY DATABASE_URL
    install_prerequisites
    install_components
    cd "$repository"
    export SQLX_OFFLINE=true
    step "format" cargo fmt --check
    step "lints" cargo clippy --locked --all-targets -- --deny warnings
    step "documentation" env RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --document-private-items
    step "tests" run_tests "$@"
    step_with shellcheck "shell scripts" shellcheck --external-sources deploy.sh .ci/run tests/*.sh
    step_with cargo-deny "dependencies" cargo deny --offline check bans licenses sources
    if [[ $(id -u) == 0 ]]; then step "cluster and deploy tests as an ordinary user" run_tests_as_ordinary_user; fi
    summarise
}

install_components() {
    if ! has rustup; then return; fi
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
        rustup component add rustfmt clippy >&2 || warn "rustfmt or clippy could not be installed"
}

# step NAME COMMAND...: runs it without this environment's settings; a failure is counted and the rest still runs.
step() {
    local name=$1
    shift
    say "== $name"
    if without_settings_here "$@"; then passed+=("$name"); else failed+=("$name"); fi
}

# step_with TOOL NAME COMMAND...: for a tool that is worth using where it is installed.
step_with() {
    if has "$1"; then step "${@:2}"; else skipped+=("$2 ($1 is not installed)"); fi
}

# COMMAND may be a function, which `env` could not run.
without_settings_here() (
    for name in "${!EVENTLOGGER_@}"; do unset "$name"; done
    "$@"
)

# Slow tests are marked #[ignore].
run_tests() {
    if [[ ${1:-} == --long ]]; then
        cargo test --locked -- --include-ignored
    else
        cargo test --locked
    fi
}

# Root's tests never meet what only ordinary users meet. The compiled tests run again as `nobody`, from a copy
# that he can read wherever the repository is; they look up both variables at run time.
run_tests_as_ordinary_user() (
    copy=$(mktemp -d /tmp/evl.XXXXXX) && trap 'rm -rf "$copy"' EXIT || return
    copy_for_tests "$copy" || return
    group=$(id -gn nobody) && chown -R "nobody:$group" "$copy" && cd "$copy" || return
    status=0
    for test in "$copy"/tests.compiled/*; do
        setpriv --reuid nobody --regid "$group" --clear-groups env \
            HOME="$copy/home" TMPDIR="$copy/tmp" CARGO_MANIFEST_DIR="$copy" \
            CARGO_BIN_EXE_eventlogger="$copy/eventlogger" EVENTLOGGER_BINARY="$copy/eventlogger" \
            "$test" cluster deploy postgres || status=1
    done
    return "$status"
)

copy_for_tests() {
    local copy=$1 executable
    mkdir "$copy/home" "$copy/tmp" "$copy/tests.compiled" || return
    git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from - |
        tar --extract --directory "$copy" || return
    cp "$(target_dir)/debug/eventlogger" "$copy/eventlogger" || return
    cargo test --locked --no-run --message-format json 2>/dev/null |
        sed -n '/"test":true/s/.*"executable":"\([^"]*\)".*/\1/p' >"$copy/executables" || return
    while read -r executable; do
        cp "$executable" "$copy/tests.compiled/" || return
    done <"$copy/executables"
}

summarise() {
    local name
    say ""
    for name in ${passed[@]+"${passed[@]}"}; do say "passed   $name"; done
    for name in ${skipped[@]+"${skipped[@]}"}; do say "skipped  $name"; done
    for name in ${failed[@]+"${failed[@]}"}; do say "FAILED   $name"; done
    ((${#failed[@]} == 0))
}
