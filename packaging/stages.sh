# shellcheck shell=bash
# How the stages of a check are run, timed, skipped and summed up. Sourced by deploy.sh.
#
# To add a stage, add one line to `check_everything`:
#
#     stage NAME COMMAND...               for what a build needs anyway
#     stage_with NEEDS NAME COMMAND...    for what needs more: words such as "python node"
#
# COMMAND may be a function; it runs without this environment's settings. For a new word in NEEDS write a function
# `need_<word>`: it makes the tool ready, in a folder below `check_folder` and nowhere else, and keeps it there for the
# next run. Where it cannot, it says on standard output, in one line, what is missing and how to get it, and fails; its
# other output goes to standard error. The stage is then skipped, except in CI, where nothing may be missing that can
# be installed. What no installing can bring, as the machine or its network do not allow it, is told by the exit code
# $beyond_this_machine, and skipped in CI too.
readonly beyond_this_machine=2

passed=()
failed=()
failed_outputs=()
skipped=()

stage() { stage_with "" "$@"; }

stage_with() {
    local needs=$1 name=$2 started=$SECONDS need missing
    shift 2
    say "== $name"
    for need in $needs; do
        missing=$("need_$need") || {
            skip "$?" "$name" "$missing" "$started"
            return
        }
    done
    mkdir -p "$(check_folder)/output"
    if without_settings_here "$@" 2>&1 | tee "$(output_of "$name")"; then
        passed+=("$(timed "$started" "$name")")
    else
        failed+=("$(timed "$started" "$name")")
        failed_outputs+=("$(output_of "$name")")
    fi
}

output_of() { printf '%s/output/%s\n' "$(check_folder)" "${1// /-}"; }

# skip CODE NAME WHY STARTED
skip() {
    local code=$1
    shift
    if [[ ${CI:-} == true && $code != "$beyond_this_machine" ]]; then
        warn "$1 cannot run and may not be skipped here: $2"
        failed+=("$(timed "$3" "$1: $2")")
    else
        warn "$1 is skipped: $2"
        skipped+=("$(timed "$3" "$1: $2")")
    fi
}

timed() { printf '%5ds  %s' "$((SECONDS - $1))" "$2"; }

# COMMAND may be a function, which `env` could not run.
without_settings_here() (
    for name in "${!EVENTLOGGER_@}"; do unset "$name"; done
    "$@"
)

# Where stages keep their tools and what they make.
check_folder() { printf '%s/check\n' "$(target_dir)"; }

# provide FOLDER KEY COMMAND...: runs COMMAND, which fills FOLDER, unless it did so before for the same KEY.
provide() {
    local folder=$1 key=$2
    shift 2
    if [[ -f $folder/key && $(<"$folder/key") == "$key" ]]; then return; fi
    rm -rf "$folder"
    mkdir -p "$folder"
    "$@" >&2 && printf '%s\n' "$key" >"$folder/key"
}

# Last of all, and with how the failures ended, because whoever reads a long log reads its end.
summarise() {
    local line file
    say ""
    for line in ${passed[@]+"${passed[@]}"}; do say "passed  $line"; done
    for line in ${skipped[@]+"${skipped[@]}"}; do say "skipped $line"; done
    for line in ${failed[@]+"${failed[@]}"}; do say "FAILED  $line"; done
    for file in ${failed_outputs[@]+"${failed_outputs[@]}"}; do
        say "" "== the end of ${file##*/}" "$(tail -n 40 "$file")" ""
    done
    say "stages: ${#passed[@]} passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
    ((${#failed[@]} == 0))
}
