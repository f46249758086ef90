# shellcheck shell=bash
# Where a deployment keeps its things, the settings it remembers, its password. Sourced by deploy.sh.

default_data_dir() {
    if is_root; then
        echo /var/lib/eventlogger
    else
        echo "${XDG_DATA_HOME:-$HOME/.local/share}/eventlogger"
    fi
}

# Sets where everything of a deployment is.
use_data_dir() {
    data_dir=$1
    if [[ -d $data_dir ]]; then data_dir=$(cd "$data_dir" && pwd -P); fi
    if [[ $data_dir != /* ]]; then data_dir=$PWD/$data_dir; fi
    # What it holds is run and read as shell text: never somebody else's, also not the service's.
    if [[ -e $data_dir && ! -O $data_dir ]]; then
        die "the data folder $data_dir belongs to another user; set EVENTLOGGER_DATA_DIR"
    fi
    # What the service itself keeps: its data_dir.
    state_dir=$data_dir
    if is_root; then state_dir=$data_dir/state; fi
    settings_file=$data_dir/service.env
    password_file=$data_dir/admin-password
    # A copy of its own, because the build folder may be cleaned, rebuilt or in a home that is closed to others.
    binary=$data_dir/bin/eventlogger
    pid_file=$data_dir/service.pid
    log_file=$data_dir/service.log
}

use_data_dir "${EVENTLOGGER_DATA_DIR:-$(default_data_dir)}"

# Root's service runs as another user, who must be able to pass through.
prepare_data_dir() {
    local mode=0700
    if is_root; then mode=0711; fi
    mkdir -p "$data_dir" || die "the data folder $data_dir cannot be made; set EVENTLOGGER_DATA_DIR"
    chmod "$mode" "$data_dir"
    use_data_dir "$data_dir"
    export EVENTLOGGER_DATA_DIR=$state_dir
    ensure_account
    ensure_state_dir
    check_old_cluster
}

# Settings of earlier runs, under those of this environment.
load_settings() {
    local given name
    given=$(for name in "${!EVENTLOGGER_@}" PG_BIN; do
        if [[ -n ${!name+given} ]]; then printf 'export %s=%q\n' "$name" "${!name}"; fi
    done)
    if [[ -f $settings_file ]]; then
        set -a
        # shellcheck disable=SC1090 # written by save_settings
        source "$settings_file"
        set +a
    fi
    eval "$given"
    export EVENTLOGGER_DATA_DIR=$state_dir
    # The service does not run in this folder.
    for name in "${!EVENTLOGGER_@}" PG_BIN; do
        case $name in
            EVENTLOGGER_CONFIG | *_FILE | *PG_BIN)
                if [[ -n ${!name:-} && ${!name} != /* ]]; then export "$name=$PWD/${!name}"; fi
                ;;
        esac
    done
}

# In the syntax that both this shell and systemd read.
save_settings() {
    local name text=""
    for name in "${!EVENTLOGGER_@}" PG_BIN; do
        case $name in
            EVENTLOGGER_ADMIN_PASSWORD | EVENTLOGGER_BINARY | EVENTLOGGER_BUILD_PROFILE) continue ;;
        esac
        if [[ ${!name:-} == *$'\n'* ]]; then die "$name contains a line break"; fi
        if [[ -n ${!name:-} ]]; then
            text+="$name=\"$(printf '%s' "${!name}" | sed 's/[\\"$`]/\\&/g')\""$'\n'
        fi
    done
    printf '%s' "$text" | private_file "$settings_file"
}

# Replaces a file by standard input, readable by its owner only, whole or not at all.
private_file() {
    (umask 077 && cat >"$1.new") && mv "$1.new" "$1"
}

# The password file is the only way a password travels: not in arguments, not in the saved settings.
keep_password() {
    password_is_new=false
    if [[ ! -f $password_file ]]; then
        password_is_new=true
        new_password | private_file "$password_file"
    elif [[ -n ${EVENTLOGGER_ADMIN_PASSWORD:-} && $EVENTLOGGER_ADMIN_PASSWORD != "$(cat "$password_file")" ]]; then
        warn "EVENTLOGGER_ADMIN_PASSWORD is ignored, there is a password already; change it with:" \
            "./deploy.sh password --reset"
    fi
    let_service_read "$password_file"
    export EVENTLOGGER_ADMIN_PASSWORD_FILE=$password_file
}

new_password() {
    if [[ -n ${EVENTLOGGER_ADMIN_PASSWORD:-} ]]; then
        printf '%s\n' "$EVENTLOGGER_ADMIN_PASSWORD"
    elif [[ -n ${EVENTLOGGER_ADMIN_PASSWORD_FILE:-} && $EVENTLOGGER_ADMIN_PASSWORD_FILE != "$password_file" ]]; then
        head -n 1 "$EVENTLOGGER_ADMIN_PASSWORD_FILE"
    else
        # 144 random bits, in characters that need no quoting anywhere.
        head -c 18 /dev/urandom | base64 | tr '+/' '-_'
    fi
}

print_password() {
    [[ -f $password_file ]] || die "nothing is deployed in $data_dir (or EVENTLOGGER_DATA_DIR differs from then)"
    cat "$password_file"
}

reset_password() {
    print_password >/dev/null
    new_password | private_file "$password_file.next"
    let_service_read "$password_file.next"
    run_cli user password "$(admin_user)" --password-file "$password_file.next" >&2 || {
        rm -f "$password_file.next"
        die "the password was not changed"
    }
    mv "$password_file.next" "$password_file"
    print_password
}

admin_user() {
    (load_settings && printf '%s\n' "${EVENTLOGGER_ADMIN_USER:-admin}")
}

run_cli() {
    [[ -x $binary ]] || die "nothing is deployed in $data_dir; ./deploy.sh deploys"
    (load_settings && run_with_settings "$binary" "$@")
}

# The password in this environment, if any, is in the file by now, and giving it twice is refused.
run_with_settings() (
    unset EVENTLOGGER_ADMIN_PASSWORD
    as_service "$@"
)

# Runs a command without any of our variables.
without_settings() {
    local name unset=()
    for name in "${!EVENTLOGGER_@}"; do unset+=(-u "$name"); done
    env ${unset[@]+"${unset[@]}"} "$@"
}
