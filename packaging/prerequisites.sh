# shellcheck shell=bash
# What a build and a run need, and how to get it. Sourced by deploy.sh.

readonly oldest_postgres=15
readonly cluster_snippet=/etc/postgresql-common/createcluster.d/eventlogger.conf

require_supported_system() {
    case $(uname -s) in
        Linux | Darwin) ;;
        *) die "on Windows use WSL2, or containers: docker compose up --build" ;;
    esac
}

# Everything that is missing is found first, so that one message or one installation is enough.
install_prerequisites() {
    if [[ -d $HOME/.cargo/bin ]]; then PATH=$PATH:$HOME/.cargo/bin; fi
    local packages=()
    if ! has curl; then packages+=(curl ca-certificates); fi
    if [[ -z ${EVENTLOGGER_BINARY:-} ]] && ! has cc; then packages+=(build-essential); fi
    if needs_postgres && ! find_postgres >/dev/null; then packages+=(postgresql); fi
    if ((${#packages[@]} > 0)); then install_packages "${packages[@]}"; fi
    if needs_postgres && ! find_postgres >/dev/null; then
        die "PostgreSQL $oldest_postgres or newer is needed; the package installed is older." \
            "Install a newer one and name the folder of its server programs in PG_BIN"
    fi
    if [[ -z ${EVENTLOGGER_BINARY:-} ]]; then install_rust; fi
}

has() { command -v "$1" >/dev/null; }

needs_postgres() {
    [[ -z ${EVENTLOGGER_DATABASE__URL:-}${EVENTLOGGER_DATABASE__URL_FILE:-} ]]
}

# Prints the first folder with server programs that are new enough.
find_postgres() {
    local folder version IFS=:
    for folder in "${EVENTLOGGER_DATABASE__PG_BIN:-}" "${PG_BIN:-}" $PATH \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
        if [[ -x $folder/postgres && -x $folder/initdb ]]; then
            version=$("$folder/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
            if ((version >= oldest_postgres)); then
                printf '%s\n' "$folder"
                return
            fi
        fi
    done
    return 1
}

install_packages() {
    if ! has apt-get; then
        die "please install what is missing, then run this again: $(elsewhere "$@")"
    fi
    if [[ $(id -u) != 0 ]] && ! has sudo; then
        die "please have an administrator run: apt-get install $*"
    fi
    warn "installing: $*"
    apt_get update
    if [[ " $* " == *" postgresql "* ]]; then forbid_own_cluster; fi
    apt_get install --yes --no-install-recommends "$@"
    elevated rm -f "$cluster_snippet"
}

elevated() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

apt_get() {
    elevated env DEBIAN_FRONTEND=noninteractive apt-get --quiet "$@" >&2 ||
        die "apt-get $1 failed; install by hand what is named above, then run this again"
}

# The distribution would make and start a cluster of its own; a setting that is there before its package is
# configured, and taken back afterwards, prevents that.
forbid_own_cluster() {
    apt_get install --yes --no-install-recommends postgresql-common
    elevated mkdir -p "${cluster_snippet%/*}"
    echo 'create_main_cluster = false' | elevated tee "$cluster_snippet" >/dev/null
}

# The missing Debian packages by the names used elsewhere.
elsewhere() {
    local package
    for package in "$@"; do
        case $(uname -s)-$package in
            Darwin-build-essential) say 'xcode-select --install;' ;;
            Darwin-postgresql) say 'brew install postgresql@18;' ;;
            Darwin-*) say "brew install $package;" ;;
            *-build-essential) say 'a C compiler (gcc);' ;;
            *-postgresql) say "the PostgreSQL server, $oldest_postgres or newer, with its contrib modules;" ;;
            *) say "$package;" ;;
        esac
    done | tr '\n' ' '
}

install_rust() {
    if rust_is_new_enough; then return; fi
    if ! has rustup; then install_rustup; fi
    warn "installing a Rust toolchain"
    rustup toolchain install stable --profile minimal --no-self-update >&2 || die "rustup failed"
    export RUSTUP_TOOLCHAIN=stable
    rust_is_new_enough || die "Rust $(oldest_rust) or newer is needed; \`rustc --version\` says $(rustc --version)"
}

rust_is_new_enough() {
    local version
    has cargo && version=$(rustc --version 2>/dev/null) || return 1
    version=${version#rustc }
    [[ $(printf '%s\n' "$(oldest_rust)" "${version%% *}" | sort -V | head -n 1) == "$(oldest_rust)" ]]
}

oldest_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml"
}

# From the distribution where it has one; otherwise as rustup's own documentation says.
install_rustup() {
    if has apt-cache && [[ $(apt-cache policy rustup) == *"Candidate: "[0-9]* ]]; then
        install_packages rustup
        return
    fi
    if has brew; then die "please run: brew install rustup && rustup default stable"; fi
    local installer
    installer=$(mktemp)
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail --output "$installer" https://sh.rustup.rs ||
        die "Rust $(oldest_rust) or newer is needed and rustup could not be downloaded; please install it"
    sh "$installer" -y --profile minimal --no-modify-path >&2 || die "rustup's installer failed"
    rm -f "$installer"
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
}
