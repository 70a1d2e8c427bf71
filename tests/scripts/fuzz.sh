# shellcheck shell=bash
# Builds and runs the fuzz targets. Coverage comes from LLVM's pass, by flags that a stable rustc takes, and libFuzzer from
# the crate that brings its source: nothing is installed, neither cargo-fuzz nor a nightly. There is no address sanitizer,
# which would need one, and which looks for what our code, free of `unsafe`, cannot do. Sourced, not executed.

fuzz_flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
fuzz_flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
fuzz_flags+=' -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
# So that property tests, lints and targets are of one and the same code.
fuzz_features=kms-client-fuzz/libfuzzer,kms-server-fuzz/libfuzzer

# The names of all targets.
fuzz_targets() {
    local file
    for file in kms-client/fuzz/fuzz_targets/*.rs kms-server/fuzz/fuzz_targets/*.rs; do
        basename "$file" .rs
    done
}

# For the host by name, so that build scripts and macros are built without coverage.
build_fuzz() {
    RUSTFLAGS=$fuzz_flags cargo build --locked --profile fuzz --target "$1" --target-dir "$target/fuzz" --bins \
        -p kms-client-fuzz -p kms-server-fuzz --features "$fuzz_features"
}

# fuzz_one NAME PROGRAM SECONDS: what it learns is kept for the next time.
fuzz_one() {
    local corpus=$target/fuzz/corpus/$1 findings=$target/fuzz/findings/$1 folders
    mkdir -p "$corpus" "$findings"
    folders=("$corpus")
    # shellcheck disable=SC2206 # a pattern
    folders+=(kms-*/fuzz/seeds/$1)
    [[ -d ${folders[1]} ]] || unset 'folders[1]'
    own_tokens "$2" -max_total_time="$3" -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$findings/" "${folders[@]}"
}

# fuzz_all MINUTES: every target for its part of them, then one line.
fuzz_all() {
    local minutes=$1 host name seconds runs total=0 findings=0 names
    host=$(rustc -vV | sed -n 's/^host: //p')
    step 'fuzz targets' build_fuzz "$host"
    passed_step 'fuzz targets' || exit 1
    mapfile -t names < <(fuzz_targets)
    seconds=$((minutes * 60 / ${#names[@]}))
    ((seconds > 0)) || seconds=1
    for name in "${names[@]}"; do
        step "fuzz $name" fuzz_one "$name" "$target/fuzz/$host/fuzz/$name" "$seconds"
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$(log_of "fuzz $name")")
        total=$((total + ${runs:-0}))
        passed_step "fuzz $name" && continue
        findings=$((findings + 1))
        printf 'reproducer: %s\n' "$(sed -n 's/.*Test unit written to //p' "$(log_of "fuzz $name")")"
    done
    printf "fuzz: %d targets, %s runs, %d findings\n" "${#names[@]}" "$(grouped "$total")" "$findings"
    ((findings == 0)) || exit 1
}

# A number with a comma before every three digits.
grouped() { sed -e ':again' -e 's/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/' -e 't again' <<<"$1"; }
