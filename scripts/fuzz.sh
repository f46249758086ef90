#!/usr/bin/env bash
# Runs the fuzz targets on a stable toolchain, with nothing but cargo and a C++ compiler:
#
#     scripts/fuzz.sh [SECONDS [TARGET...]]      default: 10 seconds for each target
#
# The same seed gives the same inputs: FUZZ_SEED, 1 if not set. What breaks a target is kept in target/fuzz/findings
# and repeated by target/fuzz/<triple>/release/TARGET FILE; new inputs are kept in target/fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-10}
targets=("${@:2}")
if ((${#targets[@]} == 0)); then targets=(event projection basic cursor); fi
triple=$(rustc -vV | sed -n 's/^host: //p')
folder=$PWD/target/fuzz

# As cargo-fuzz has them, without a sanitizer, which only a nightly toolchain could add. `--target` keeps them away from
# build scripts and macros.
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1)
RUSTFLAGS="${coverage[*]} --cfg fuzzing" cargo build --locked --quiet --release --manifest-path fuzz/Cargo.toml \
    --target "$triple" --target-dir "$folder"

for target in "${targets[@]}"; do
    mkdir -p "$folder/corpus/$target" "$folder/findings"
    log=$folder/$target.log
    "$folder/$triple/release/$target" -seed="${FUZZ_SEED:-1}" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=1024 -dict=fuzz/json.dict -artifact_prefix="$folder/findings/$target-" -print_final_stats=1 \
        "$folder/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1 || {
        tail -n 60 "$log" >&2
        exit 1
    }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%s: %s inputs, %s places reached\n' "$target" "$runs" "$covered"
done
