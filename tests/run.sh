#!/usr/bin/env bash
# Runs Keyward's checks and tests, on a machine that has Rust's toolchain and nothing else of ours. It brings its own
# PostgreSQL and SoftHSM tokens in a temporary folder, and leaves nothing behind but built tools and `target`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
called_from=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
# Nextest keeps its reports in the workspace, wherever Cargo builds.
junit=$root/target/nextest/default/junit.xml
cd "$root"

# shellcheck source=scripts/say.sh
source tests/scripts/say.sh
# shellcheck source=scripts/needs.sh
source tests/scripts/needs.sh
# shellcheck source=scripts/postgres.sh
source tests/scripts/postgres.sh
# shellcheck source=scripts/services.sh
source tests/scripts/services.sh
# shellcheck source=scripts/fuzz.sh
source tests/scripts/fuzz.sh

usage() {
    cat <<'USAGE'
usage: tests/run.sh                       everything: format, lints, tests on both databases, documents, licences
       tests/run.sh test [nextest's]      the tests only, e.g. `tests/run.sh test unwrap`
       tests/run.sh bench [--quick] [--postgres] [--json FILE]
                                          raw HSM decryption against unwrap and generate over HTTPS
       tests/run.sh bench --start [--quick] how long a new node takes to load 10,000 keys and 100,000 bindings
       tests/run.sh fuzz [--minutes N]    every fuzz target, for N minutes in all (5): does any parser break its word?
       tests/run.sh crash [--kills N]     kill -9 at random moments under load, on both databases: is anything lost?
       tests/run.sh cut [--seconds N] [--faults]
                                          access cut under load on several nodes, for N seconds (60): is anything late?

A PostgreSQL to use instead of a temporary one goes into KEYWARD_TEST_POSTGRES (postgres://...): its user makes databases.
USAGE
}

main() {
    local suite=${1:-all}
    (($# == 0)) || shift
    case $suite in
    all | test | bench | crash | cut | fuzz) ;;
    -h | --help | help)
        usage
        return
        ;;
    *)
        printf 'run.sh: no suite is called "%s"\n' "$suite" >&2
        usage >&2
        exit 2
        ;;
    esac

    need_toolchain
    rm -f "$junit"
    open_scratch
    need_packages
    "suite_$suite" "$@"
}

# Every check of the project. One that fails does not hide the others.
suite_all() {
    if (($# > 0)); then
        usage >&2
        exit 2
    fi
    need_nextest
    need_deny
    step 'hygiene' tests/scripts/hygiene.sh
    step 'format' cargo fmt --all --check
    # The fuzz targets are checked by this too, beside everything that they share.
    step 'lints' cargo clippy --workspace --all-targets --locked --features "$fuzz_features" -- -D warnings
    step 'bans, licences, sources' cargo deny --workspace --locked check --hide-inclusion-graph bans licenses sources
    step 'documents' env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
    step 'binaries' cargo build --workspace --locked
    start_services
    step 'doctests' cargo test --workspace --doc --locked
    if passed_step 'binaries'; then
        nextest
        live_step 'kills' own_tokens "$target/debug/crash" --kills 20
        live_step 'cuts' own_tokens "$target/debug/cut" --seconds 60 --faults
    fi
    verdict
}

# For developers: `tests/run.sh test NAME` while working on NAME.
suite_test() {
    need_nextest
    step 'binaries' cargo build --workspace
    passed_step 'binaries' || exit 1
    start_services
    nextest "$@"
    verdict
}

suite_bench() {
    local bench
    live_step 'release build' cargo build --release --locked -p kms-server --bin kms-server -p keyward-tests --bin bench
    passed_step 'release build' || exit 1
    bench=$(realpath "$target/release/bench")
    start_services
    cd "$called_from"
    run own_tokens "$bench" "$@"
}

suite_crash() {
    step 'binaries' cargo build --workspace --bins
    passed_step 'binaries' || exit 1
    start_services
    run own_tokens "$target/debug/crash" "$@"
}

suite_cut() {
    step 'binaries' cargo build --workspace --bins
    passed_step 'binaries' || exit 1
    start_services
    run own_tokens "$target/debug/cut" "$@"
}

suite_fuzz() {
    local minutes=5
    if [[ ${1:-} == --minutes && ${2:-} =~ ^[1-9][0-9]{0,3}$ ]]; then
        minutes=$2
        shift 2
    fi
    if (($# > 0)); then
        usage >&2
        exit 2
    fi
    start_softhsm
    fuzz_all "$minutes"
}

# own_tokens PROGRAM ARGUMENTS...: with a SoftHSM folder of its own.
own_tokens() { "$root/tests/scripts/own-tokens.sh" "$@"; }

start_services() {
    start_softhsm
    start_postgres
}

nextest() {
    live_step 'tests' cargo nextest run --workspace "$@"
}

# Ends a run: which steps failed, then the one line that counts tests. A step that is no test counts when it failed.
verdict() {
    local passed=0 failed=0 good bad name
    while read -r good bad; do
        passed=$((passed + good)) failed=$((failed + bad))
    done < <(count_tests)
    for name in "${failed_steps[@]}"; do
        [[ $name == tests || $name == doctests ]] || failed=$((failed + 1))
    done
    if ((${#failed_steps[@]} > 0)); then
        ((failed > 0)) || failed=1
        printf '\n%sfailed: %s%s\n' "$red" "$(IFS=, && printf '%s' "${failed_steps[*]}")" "$plain"
    fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0)) || exit 1
}

# Lines of `passed failed`: one of nextest's report, one for each crate with doctests.
count_tests() {
    local tests wrong
    if [[ -f $junit ]]; then
        tests=$(attribute tests)
        wrong=$(($(attribute failures) + $(attribute errors)))
        printf '%d %d\n' "$((tests - wrong))" "$wrong"
    fi
    [[ ! -f $(log_of doctests) ]] ||
        sed -n 's/^test result:.* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$(log_of doctests)"
}

# An attribute of the whole run in nextest's report.
attribute() { sed -n "s/^<testsuites .*[ ]$1=\"\([0-9]*\)\".*/\1/p" "$junit"; }

open_scratch() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/keyward-tests.XXXXXXXX")
    trap close_scratch EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # PostgreSQL's user passes through; it cannot list.
    chmod 0711 "$scratch"
    mkdir -m 0700 "$scratch/log"
}

close_scratch() {
    local status=$?
    trap '' INT TERM HUP
    stop_job
    stop_postgres
    rm -rf "$scratch"
    exit "$status"
}

main "$@"
