# shellcheck shell=bash
# As whom the service runs: as the user who deploys it, but for root as a system user of its own. Sourced by
# deploy.sh.
#
# What root reads and runs (settings, password, binary) stays root's, in a folder that only root can change. The
# service owns the folder `state` in it, and nothing else.

readonly service_account=eventlogger

is_root() { [[ $(id -u) == 0 ]]; }

ensure_account() {
    if ! is_root; then return; fi
    has setpriv || die "please install setpriv (util-linux), with which root's service gets a user of its own"
    if id -u "$service_account" >/dev/null 2>&1; then return; fi
    has useradd || die "please make a system user \`$service_account\` with a group of that name, then run this again"
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
        "$service_account"
}

service_group() { id -gn "$service_account"; }

# For messages about settings that are refused.
for_whom() {
    if is_root; then
        printf '%s' "; the service runs as the user $service_account, who must be able to read the files they name"
    fi
}

# as_service COMMAND...: the command in place of a subshell, as the service's user and with no way to more.
as_service() {
    if ! is_root; then exec "$@"; fi
    exec setpriv --reuid "$service_account" --regid "$(service_group)" --clear-groups \
        --no-new-privs --inh-caps=-all --bounding-set=-all env -u XDG_RUNTIME_DIR HOME=/nonexistent "$@"
}

# Secrets in files of root's that the service reads but cannot change.
let_service_read() {
    if is_root; then chgrp "$(service_group)" "$1" && chmod 0640 "$1"; fi
}

ensure_state_dir() {
    if is_root; then
        install --directory --owner "$service_account" --group "$(service_group)" --mode 0700 "$state_dir"
    fi
}

# Until its first deployment with a user of its own, root's service ran as root, and its PostgreSQL as another user
# on $data_dir/pg.
has_old_cluster() { is_root && [[ -e $data_dir/pg ]]; }

# Finds what stands in the way while the old service still runs.
check_old_cluster() {
    if ! has_old_cluster; then return; fi
    [[ ! -e $state_dir/pg ]] || die "there are two clusters, $data_dir/pg and $state_dir/pg; move the wrong one away"
    local link
    # Its former user could have made them, so they are not simply followed.
    while IFS= read -r link; do
        [[ $(stat --dereference --format %U "$link") == "$service_account" ]] ||
            die "$link leads out of the cluster; run: chown --recursive $service_account: $(readlink -f "$link")"
    done < <(find -H "$data_dir/pg" -type l)
}

# While nothing runs. May be interrupted and run again: the last step is one rename.
adopt_old_cluster() {
    if ! has_old_cluster; then return; fi
    warn "giving $data_dir/pg to the user $service_account, as $state_dir/pg"
    chown --recursive -H --no-dereference "$service_account:$(service_group)" "$data_dir/pg"
    # What the service makes anew at each start.
    rm -rf "$data_dir"/{pg.lock,pg_hba.conf,pg_ident.conf,run} "$data_dir"/pg.init.*
    # What it signs with, and what it signed last.
    local name
    for name in signing-key latch; do
        if [[ ! -e $data_dir/$name ]]; then continue; fi
        chown --recursive --no-dereference "$service_account:$(service_group)" "$data_dir/$name"
        mv --no-target-directory "$data_dir/$name" "$state_dir/$name"
    done
    if [[ -L $data_dir/pg ]]; then
        ln -s "$(readlink -f "$data_dir/pg")" "$state_dir/pg" && rm "$data_dir/pg"
    else
        mv --no-target-directory "$data_dir/pg" "$state_dir/pg"
    fi
}
