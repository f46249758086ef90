#!/usr/bin/env bash
# Deploys EventLogger on this machine. `./deploy.sh --help` says how.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf '%s\n' "$*"; }
warn() { printf 'deploy: %s\n' "$*" >&2; }
die() {
    warn "$@"
    exit 1
}

# shellcheck source=packaging/prerequisites.sh
source "$repository/packaging/prerequisites.sh"
# shellcheck source=packaging/account.sh
source "$repository/packaging/account.sh"
# shellcheck source=packaging/settings.sh
source "$repository/packaging/settings.sh"
# shellcheck source=packaging/service.sh
source "$repository/packaging/service.sh"
# shellcheck source=packaging/stages.sh
source "$repository/packaging/stages.sh"
# shellcheck source=packaging/tools.sh
source "$repository/packaging/tools.sh"
# shellcheck source=packaging/supply.sh
source "$repository/packaging/supply.sh"
# shellcheck source=packaging/check.sh
source "$repository/packaging/check.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy.sh [COMMAND]

Commands:
  up                  install what is missing, build, start (or upgrade in place), wait until ready; the default
  down                stop the service and wait for it; all data is kept
  status              say whether the service runs and is ready (exit code 1 if it is not)
  logs [--follow]     print the service's log
  password [--reset]  print the admin's password, or replace it and print the new one
  cli ARGUMENTS...    run `eventlogger ARGUMENTS...` with this deployment's settings
  test [--long]       check everything: format, lints, documents, tests, clients, API; what a stage
                      lacks is installed below target/, or the stage is skipped; --long adds the slow tests

For root, the service runs as the system user eventlogger, who must be able to read the files that settings name.

Environment:
  EVENTLOGGER_ADMIN_PASSWORD   the admin's password for the first `up` and for `password --reset`;
                               generated if not given
  EVENTLOGGER_DATA_DIR         where everything is kept; /var/lib/eventlogger for root, otherwise
                               $XDG_DATA_HOME/eventlogger or ~/.local/share/eventlogger
  EVENTLOGGER_SECTION__KEY     any setting of config/default.toml, such as EVENTLOGGER_SERVER__LISTEN;
                               `up` remembers them in <data dir>/service.env
  EVENTLOGGER_BUILD_PROFILE    release (the default) or dev
  EVENTLOGGER_BINARY           deploy this ready-made binary instead of building one

Examples:
  ./deploy.sh
  EVENTLOGGER_ADMIN_PASSWORD=secret ./deploy.sh
  EVENTLOGGER_SERVER__LISTEN=127.0.0.1:8080 ./deploy.sh up
  ./deploy.sh cli token create --help
USAGE
}

wrong_usage() {
    warn "$1; ./deploy.sh --help explains the commands"
    exit 2
}

up() {
    require_supported_system
    load_settings
    install_prerequisites
    local built
    built=$(build)
    prepare_data_dir
    keep_password
    copy_binary "$built"
    # Refuses a wrong configuration before anything that runs is touched.
    run_with_settings "$binary.new" config >/dev/null || die "the settings are refused$(for_whom)"
    save_settings
    mv "$binary.new" "$binary"
    restart_service
    wait_until_ready
    greet
}

# Prints the path of the binary to deploy; everything else goes to standard error.
build() {
    if [[ -n ${EVENTLOGGER_BINARY:-} ]]; then
        printf '%s\n' "$EVENTLOGGER_BINARY"
        return
    fi
    local profile=${EVENTLOGGER_BUILD_PROFILE:-release} folder
    folder=$profile
    if [[ $profile == dev ]]; then folder=debug; fi
    warn "building ($profile); the first build takes some minutes"
    (cd "$repository" && unset DATABASE_URL && without_settings env SQLX_OFFLINE=true \
        cargo build --locked --bin eventlogger --profile "$profile" >&2) || die "the build failed"
    printf '%s\n' "$(target_dir)/$folder/eventlogger"
}

target_dir() {
    local folder=${CARGO_TARGET_DIR:-$repository/target}
    if [[ $folder != /* ]]; then folder=$repository/$folder; fi
    printf '%s\n' "$folder"
}

greet() {
    local user password="kept; print it with ./deploy.sh password"
    local at url curl=curl
    user=$(admin_user)
    at=$(shown_url)
    url=$at
    if [[ $at == unix:* ]]; then
        curl="curl --unix-socket ${at#unix:}"
        url=http://localhost
    fi
    if $password_is_new; then password="$(cat "$password_file")      (again: ./deploy.sh password)"; fi
    cat <<GREETING

EventLogger is ready at $at

  user      $user
  password  $password
  data      $data_dir

Record an event:

  $curl -X POST -u "$user:\$(./deploy.sh password)" -H "Content-Type: application/json" \\
    -d '{"event_type":"old_account","user_identity":"Asad_Zaman","event_data":{"account_id":1346,"email":"john.doe@example.com"}}' \\
    $url/events

Find it by a typed field, or by any field of its event_data:

  $curl -u "$user:\$(./deploy.sh password)" "$url/events/query?user_identity=Asad_Zaman"
  $curl -u "$user:\$(./deploy.sh password)" "$url/events/query?account_id=1346"

API document: $url/docs      Stop: ./deploy.sh down
GREETING
}

main() {
    local command=${1:-up}
    if (($# > 0)); then shift; fi
    case $command in
        up | down | status) (($# == 0)) || wrong_usage "\`$command\` takes no arguments" ;;
        logs) [[ $# == 0 || "$*" == --follow ]] || wrong_usage "\`logs\` takes only --follow" ;;
        password) [[ $# == 0 || "$*" == --reset ]] || wrong_usage "\`password\` takes only --reset" ;;
        test) [[ $# == 0 || "$*" == --long ]] || wrong_usage "\`test\` takes only --long" ;;
        cli) ;;
        help | -h | --help)
            usage
            return
            ;;
        *) wrong_usage "there is no command \`$command\`" ;;
    esac
    case $command in
        up) up ;;
        down) down ;;
        status) show_status ;;
        logs) show_logs "$@" ;;
        password) if (($# > 0)); then reset_password; else print_password; fi ;;
        cli) run_cli "$@" ;;
        test) check_everything "$@" ;;
    esac
}

main "$@"
