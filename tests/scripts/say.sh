# shellcheck shell=bash
# What a run prints: a step's name when it starts, its mark and seconds when it ends, and the log of one that failed.
# `scratch` is the run's temporary folder; sourced, not executed.

bold='' green='' red='' dim='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
fi

failed_steps=()
job=''

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# run COMMAND...: in a process group of its own, so that one signal ends it and all that it started.
run() {
    local status=0
    set -m
    (
        set +m
        "$@"
    ) </dev/null &
    job=$!
    set +m
    wait "$job" || status=$?
    job=''
    return "$status"
}

stop_job() {
    [[ -n $job ]] || return 0
    kill -TERM -- "-$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
    job=''
}

# step NAME COMMAND...: shows the log only when the command fails. A failure is kept in `failed_steps`; the run goes on.
step() { step_with quietly "$@"; }

# live_step NAME COMMAND...: shows the output as it comes.
live_step() { step_with loudly "$@"; }

step_with() {
    local how=$1 name=$2 started=$SECONDS status=0
    shift 2
    printf '%s▶ %s%s\n' "$bold" "$name" "$plain"
    run "$how" "$(log_of "$name")" "$@" || status=$?
    if ((status == 0)); then
        printf '%s✓ %s%s  %s%d s%s\n' "$green" "$name" "$plain" "$dim" "$((SECONDS - started))" "$plain"
        return
    fi
    if [[ $how == quietly ]]; then
        tail -n 300 "$(log_of "$name")"
    fi
    printf '%s✗ %s%s  %s%d s%s\n' "$red" "$name" "$plain" "$dim" "$((SECONDS - started))" "$plain"
    failed_steps+=("$name")
}

quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1
}

loudly() {
    local log=$1
    shift
    set -o pipefail
    "$@" 2>&1 | tee "$log"
}

# The name of a step is also the name of its log.
log_of() { printf '%s/log/%s' "$scratch" "${1//[^a-zA-Z0-9]/-}"; }

passed_step() {
    local name
    for name in "${failed_steps[@]}"; do
        [[ $name != "$1" ]] || return 1
    done
}
