#!/usr/bin/env bash
# The deployment under a systemd of its own: in a container whose root is a throw-away layer over this machine's.
# Takes root, systemd-nspawn and PostgreSQL. EVENTLOGGER_BINARY=… is the binary to deploy; `tests/systemd.sh boots`
# only looks whether such a container can be had here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/expect.sh
source tests/expect.sh

# ---- outside

boot() {
    folder=$(mktemp -d "${TMPDIR:-/tmp}/evl-systemd.XXXXXX")
    trap shut_down EXIT
    # Memory, because a layer cannot lie on a layer, which the root of a CI machine may be.
    mount -t tmpfs -o mode=0755 evl-systemd "$folder"
    lay_root
    rm -f "$folder/root/etc/machine-id" "$folder/root/var/lib/dbus/machine-id"
    # There is no network to wait for.
    ln -sf /dev/null "$folder/root/etc/systemd/system/systemd-networkd-wait-online.service"
    rm -rf "$folder/root/var/lib/eventlogger" "$folder"/root/etc/systemd/system/eventlogger*
    systemd-nspawn --quiet --register=no --keep-unit --private-network --machine "evl-$$" \
        --directory "$folder/root" --bind-ro "$PWD:/srv/repository" --bind-ro "$1:/srv/eventlogger" \
        --boot -- --unit=basic.target >"$folder/console" 2>&1 </dev/null &
    nspawn=$!
    until leader >/dev/null; do
        kill -0 "$nspawn" 2>/dev/null || fail "systemd-nspawn has ended"
        sleep 0.1
    done
    soon inside test -S /run/systemd/private
}

# Folder by folder, as each of them may be a file system of its own, which a layer on / would lack.
lay_root() {
    local name
    mkdir "$folder/root"
    for name in bin etc lib lib32 lib64 libx32 root sbin usr var; do
        if [[ -L /$name ]]; then
            cp --no-dereference "/$name" "$folder/root/$name"
        elif [[ -d /$name ]]; then
            mkdir -p "$folder/changes/$name" "$folder/scratch/$name" "$folder/root/$name"
            mount -t overlay evl-systemd "$folder/root/$name" \
                -o "lowerdir=/$name,upperdir=$folder/changes/$name,workdir=$folder/scratch/$name"
        fi
    done
    mkdir "$folder"/root/{dev,proc,run,srv,sys} && mkdir -m 1777 "$folder/root/tmp"
}

# The process that is number 1 in there.
leader() { pgrep --parent "$nspawn" --newest; }

inside() {
    nsenter --target "$(leader)" --mount --uts --ipc --net --pid --cgroup \
        env -i PATH="$PATH" LANG=C.UTF-8 HOME=/root "$@"
}

shut_down() {
    local status=$?
    if ((status != 0)); then tail -n 20 "$folder/console" >&2 || true; fi
    if [[ -n ${nspawn:-} ]]; then
        kill -KILL "$(leader)" "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    umount --lazy "$folder"/root/* "$folder" 2>/dev/null || true
    rmdir "$folder" || true
}

# ---- inside

data_dir=/var/lib/eventlogger
url=http://127.0.0.1:5000
unit=eventlogger.service

ask() { curl --silent --show-error --user admin:secret "${@:2}" "$url$1"; }

record() {
    ask /events --header 'Content-Type: application/json' \
        --data "{\"event_type\":\"$1\",\"user_identity\":\"u\",\"event_data\":{\"account_id\":1346}}"
}

property() { systemctl show --property "$1" --value "$unit"; }

is_another_than() { [[ $(property MainPID) != "$1" ]]; }

# As deployments were before the service had a user of its own.
deploy_as_root_once() {
    install -d -m 0711 "$data_dir" && install -d "$data_dir/bin"
    install -m 0755 /srv/eventlogger "$data_dir/bin/eventlogger"
    install -m 0600 /dev/stdin "$data_dir/admin-password" <<<secret
    install -m 0600 /dev/stdin "$data_dir/service.env" <<'SETTINGS'
EVENTLOGGER_ADMIN_PASSWORD_FILE="/var/lib/eventlogger/admin-password"
EVENTLOGGER_DATA_DIR="/var/lib/eventlogger"
SETTINGS
    cat >"/etc/systemd/system/$unit" <<UNIT
[Service]
Type=exec
EnvironmentFile=$data_dir/service.env
ExecStart=$data_dir/bin/eventlogger serve
KillMode=mixed
UNIT
    systemctl start "$unit"
    soon curl --fail "$url/health/ready"
}

# Every process of the unit: user, confinement.
processes() {
    local pid
    for pid in $(cat "/sys/fs/cgroup/systemd$(property ControlGroup)/cgroup.procs" 2>/dev/null ||
        cat "/sys/fs/cgroup$(property ControlGroup)/cgroup.procs"); do
        printf '%s ' "$(stat --format %U "/proc/$pid")"
        sed -n 's/^\(CapEff\|CapBnd\|NoNewPrivs\|Seccomp\):\t*/\1=/p' "/proc/$pid/status" | tr '\n' ' '
        echo
    done | sort | uniq -c | sed 's/^ *[0-9]* //; s/ *$//'
}

check_deployment() {
    export EVENTLOGGER_BINARY=/srv/eventlogger
    deploy_as_root_once
    expect "an event is recorded as root" '*"seq":*' "$(record old)"
    expect "the cluster is its user's" postgres "$(stat --format %U $data_dir/pg)"

    ./deploy.sh >/dev/null || fail "up over a service that ran as root"
    expect "what it recorded is still there" '*1346*' "$(ask '/events/query?event_type=old')"
    expect "and it records" '*"seq":*' "$(record new)"
    expect "all of it is the service's" eventlogger "$(find $data_dir/state -printf '%u\n' | sort -u)"
    expect "all else is root's" root "$(find $data_dir -path $data_dir/state -prune -o -printf '%u\n' | sort -u)"
    expect "it runs without any privilege" \
        'eventlogger CapEff=0000000000000000 CapBnd=0000000000000000 NoNewPrivs=1 Seccomp=2' "$(processes)"
    systemd-analyze security --threshold=20 "$unit" >/dev/null || fail "systemd-analyze security"
    expect "commands reach it" '*admin*' "$(./deploy.sh cli user list)"
    expect "its log is kept" '*listening on*' "$(./deploy.sh logs)"

    local pid
    pid=$(property MainPID)
    kill -KILL "$pid"
    soon is_another_than "$pid"
    soon curl --fail "$url/health/ready"
    expect "it comes back after kill -9" '*1346*' "$(ask '/events/query?event_type=new')"

    ./deploy.sh up >/dev/null || fail "up over a running service"
    expect "an upgrade keeps the data" '*1346*' "$(ask '/events/query?event_type=old')"
    local before
    before=$(journalctl --lines 0 --show-cursor --quiet | sed -n 's/^-- cursor: //p')
    systemctl stop "$unit"
    expect "a stop is clean" success:0 "$(property Result):$(property ExecMainStatus)"
    expect "and not by force" '' "$(journalctl --unit "$unit" --grep 'SIGKILL|timed out' --after-cursor "$before" --quiet || true)"
    expect "it leaves nobody behind" '' "$(pgrep --uid eventlogger --list-full || true)"
    systemctl start "$unit"
    soon curl --fail "$url/health/ready"
    ./deploy.sh down >/dev/null || fail "down"
    expect "down leaves no unit" '*not-found*' "$(property LoadState)"
}

if [[ ${1:-} == inside ]]; then
    check_deployment
    bash tests/deploy.sh
elif [[ ${1:-} == boots ]]; then
    boot "$PWD/tests/systemd.sh"
else
    [[ $(id -u) == 0 ]] || fail "takes root"
    boot "$(readlink -f "${EVENTLOGGER_BINARY:?}")"
    inside bash /srv/repository/tests/systemd.sh inside
fi
