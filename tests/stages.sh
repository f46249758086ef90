#!/usr/bin/env bash
# The rules of stages: after a failure the rest still runs; what lacks something is skipped, but never in CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*"; }
warn() { say "$@" >&2; }
# shellcheck source=packaging/stages.sh
source packaging/stages.sh

need_present() { echo "what it says while it works" >&2; }
need_absent() {
    say "the tool is missing (install it)"
    return 1
}

# check CI CODE PATTERN STAGE...: the summary and the exit code of a check with this one stage between two good ones.
check() {
    local code=0 said
    said=$(export CI=$1 && stage first true && "${@:4}" && stage last true && summarise) || code=$?
    # shellcheck disable=SC2053 # it is a pattern
    if [[ $code != "$2" || $said != $3 ]]; then
        printf 'FAILED: CI=%s %s: exit code %s and\n%s\n' "$1" "${*:4}" "$code" "$said" >&2
        exit 1
    fi
}

need_impossible() {
    say "not on this machine"
    return "$beyond_this_machine"
}
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
target_dir() { echo "$folder"; }
fails_saying() { echo "why" && false; }

export EVENTLOGGER_X=set
settings_are_here() { [[ -n ${EVENTLOGGER_X:-} ]]; }

check "" 0 '*passed*s  good*stages: 3 passed, 0 failed, 0 skipped' stage good true
check "" 1 '*passed*s  last*FAILED *s  bad*stages: 2 passed, 1 failed, 0 skipped' stage bad false
check true 0 '*stages: 3 passed, 0 failed, 0 skipped' stage_with present good true
check "" 0 '*skipped *s  lame: the tool is missing (install it)*stages: 2 passed, 0 failed, 1 skipped' \
    stage_with "present absent" lame true
check true 1 '*FAILED *s  lame: the tool is missing (install it)*stages: 2 passed, 1 failed, 0 skipped' \
    stage_with "present absent" lame true
check true 0 '*skipped *s  lame: not on this machine*stages: 2 passed, 0 failed, 1 skipped' \
    stage_with "present impossible" lame true
check "" 1 '*FAILED *s  a bad one*== the end of a-bad-one*why*stages: 2 passed, 1 failed*' stage "a bad one" fails_saying
check "" 1 '*FAILED *s  lonely*' stage lonely settings_are_here

provide "$folder/tool" 1 touch "$folder/tool/made-of-1"
provide "$folder/tool" 1 false
provide "$folder/tool" 2 false && exit 1
[[ ! -e $folder/tool/made-of-1 ]]
provide "$folder/tool" 2 touch "$folder/tool/made-of-2"
[[ -e $folder/tool/made-of-2 ]]
echo "ok: stages keep their rules"
