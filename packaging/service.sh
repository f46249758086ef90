# shellcheck shell=bash
# Starting, stopping and watching the service: a systemd unit for root where systemd runs, otherwise a detached
# process with a pid file. Sourced by deploy.sh.

readonly start_deadline_seconds=180 stop_deadline_seconds=120 log_bytes=67108864

under_systemd() { is_root && [[ -d /run/systemd/system ]]; }

# Deployments in other folders get units of their own.
unit() {
    if [[ $data_dir == /var/lib/eventlogger ]]; then
        echo eventlogger.service
    else
        echo "eventlogger-$(systemd-escape --path "$data_dir").service"
    fi
}

# Beside the one that runs, where the service's user can read it.
copy_binary() {
    mkdir -p "${binary%/*}"
    cp "$1" "$binary.new"
    chmod 0755 "$binary.new"
}

restart_service() {
    if is_running; then stop_service; fi
    adopt_old_cluster
    base_url=$(url)
    if [[ $(http_status "$base_url") != 000 ]]; then
        die "something else answers at $base_url; stop it, or choose another address with EVENTLOGGER_SERVER__LISTEN"
    fi
    if under_systemd; then start_unit; else start_process; fi
}

start_unit() {
    sed "s|@DATA_DIR@|$data_dir|g" "$repository/packaging/eventlogger.service" >"/etc/systemd/system/$(unit)"
    systemctl daemon-reload
    systemctl enable --quiet "$(unit)"
    systemctl reset-failed "$(unit)" 2>/dev/null || true
    systemctl start "$(unit)"
}

start_process() {
    if [[ -f $log_file ]] && (($(wc -c <"$log_file") > log_bytes)); then mv "$log_file" "$log_file.1"; fi
    (umask 077 && touch "$log_file")
    local detach=nohup
    if has setsid; then detach=setsid; fi
    (
        cd /
        unset EVENTLOGGER_ADMIN_PASSWORD
        as_service "$detach" "$binary" serve </dev/null >>"$log_file" 2>&1
    ) &
    echo "$!" >"$pid_file"
    # Until then its program is still a shell.
    until is_running || ! kill -0 "$!" 2>/dev/null; do sleep 0.05; done
}

is_running() {
    if under_systemd; then
        [[ $(systemctl show --property ActiveState --value "$(unit)") =~ ^(active|activating|deactivating|reloading)$ ]]
    else
        [[ -f $pid_file ]] && is_ours "$(cat "$pid_file")"
    fi
}

# A pid may have been given to another process since; a zombie has no program any more.
is_ours() {
    if [[ -d /proc/self ]]; then
        [[ $(readlink "/proc/$1/exe") == "$binary"* ]]
    else
        [[ $(ps -p "$1" -o stat= -o command=) =~ ^[^Z].*"$binary serve" ]]
    fi 2>/dev/null
}

down() {
    if is_running; then
        stop_service
        say "EventLogger is stopped; its data stays in $data_dir"
    else
        say "EventLogger is not running"
    fi
    if under_systemd; then
        systemctl disable --quiet "$(unit)" 2>/dev/null || true
        rm -f "/etc/systemd/system/$(unit)"
        systemctl daemon-reload
    fi
}

stop_service() {
    if under_systemd; then
        systemctl stop "$(unit)"
    else
        kill -TERM "$(cat "$pid_file")"
        wait_until_stopped
        rm -f "$pid_file"
    fi
}

wait_until_stopped() {
    local deadline=$((SECONDS + stop_deadline_seconds))
    while is_running; do
        ((SECONDS < deadline)) || die "process $(cat "$pid_file") does not stop; see ./deploy.sh logs"
        sleep 0.1
    done
}

wait_until_ready() {
    local deadline=$((SECONDS + start_deadline_seconds))
    until [[ $(http_status "$base_url") == 200 ]] && is_running; do
        if ! is_running || keeps_failing; then
            show_log_lines 20 >&2
            die "the service ended; its last words are above"
        fi
        if ((SECONDS >= deadline)); then
            show_log_lines 20 >&2
            die "the service is not ready after $start_deadline_seconds seconds; ./deploy.sh logs --follow shows more"
        fi
        sleep 0.2
    done
}

keeps_failing() {
    under_systemd && [[ $(systemctl show --property NRestarts --value "$(unit)") != 0 ]]
}

show_status() {
    if ! is_running; then
        say "EventLogger is not running (data: $data_dir)"
        return 1
    fi
    local status
    status=$(http_status "$(url)")
    say "EventLogger runs at $(shown_url) (data: $data_dir)"
    if [[ $status == 200 ]]; then
        say "ready"
    else
        say "not ready: /health/ready answers $status; see ./deploy.sh logs"
        return 1
    fi
}

show_logs() {
    if [[ ${1:-} != --follow ]]; then
        show_log_lines 200
    elif under_systemd; then
        journalctl --unit "$(unit)" --lines 200 --output cat --follow
    else
        tail -n 200 -F "$log_file"
    fi
}

show_log_lines() {
    if under_systemd; then
        journalctl --unit "$(unit)" --lines "$1" --output cat --no-pager
    elif [[ -f $log_file ]]; then
        tail -n "$1" "$log_file"
    else
        warn "there is no log in $data_dir yet"
    fi
}

# http_status URL: of the readiness check; 000 if nothing answers.
http_status() {
    local url=$1 request=(curl --silent --noproxy '*' --max-time 5 --output /dev/null --write-out '%{http_code}')
    case $url in
        unix:*)
            request+=(--unix-socket "${url#unix:}")
            url=http://localhost
            ;;
        # The certificate is for the service's name, not for this address; nothing secret is sent.
        https:*) request+=(--insecure) ;;
    esac
    "${request[@]}" "$url/health/ready" || true
}

# The first address listened on, as the service itself understands its settings: http://, https:// or unix:/PATH.
url() {
    local settings address scheme=https
    settings=$(run_cli config)
    address=$(sed -n 's/^listen = \["\([^"]*\)".*/\1/p' <<<"$settings")
    if grep --quiet '^tls_certificate = ""' <<<"$settings"; then scheme=http; fi
    case $address in
        unix:*)
            printf '%s\n' "$address"
            return
            ;;
        *://*)
            scheme=${address%%://*}
            address=${address#*://}
            ;;
    esac
    case $address in
        0.0.0.0:*) address=127.0.0.1:${address##*:} ;;
        '[::]:'*) address="[::1]:${address##*:}" ;;
    esac
    printf '%s://%s\n' "$scheme" "$address"
}

shown_url() {
    url | sed 's,//127\.0\.0\.1:,//localhost:,; s,//\[::1\]:,//localhost:,'
}
