# shellcheck shell=bash
# The services that tests stand on: a PostgreSQL of the run's own and a folder for SoftHSM's tokens, both in `scratch` and
# gone with it. The harness makes databases and tokens; nothing here touches those of the machine. Sourced, not executed.

start_softhsm() {
    local host runner
    host=$(rustc -vV | sed -n 's/^host: //p')
    runner=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$host")_RUNNER
    export KEYWARD_TEST_SOFTHSM=$scratch/softhsm "$runner=$root/tests/scripts/own-tokens.sh"
    KEYWARD_TEST_SOFTHSM_MODULE=$(softhsm_module)
    export KEYWARD_TEST_SOFTHSM_MODULE
    mkdir -p "$KEYWARD_TEST_SOFTHSM"
}

# Where distributions put it; a folder that is not there is no reason to stop.
softhsm_module() {
    local found
    found=$(find /usr/lib /usr/lib64 /usr/local/lib /opt/homebrew/lib -name libsofthsm2.so 2>/dev/null || true)
    printf '%s' "${found%%$'\n'*}"
}

start_postgres() {
    local password port try
    [[ -z ${KEYWARD_TEST_POSTGRES:-} ]] || return 0
    postgres=$scratch/postgres
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    mkdir -m 0700 "$postgres"
    (umask 077 && printf '%s\n' "$password" >"$postgres/password")
    if ((EUID == 0)); then
        id postgres >/dev/null 2>&1 || die "PostgreSQL refuses to run as root, and there is no user called postgres for it"
        chown -R postgres: "$postgres"
    fi
    step 'initdb' as_postgres initdb --pgdata="$postgres/data" --username=postgres --pwfile="$postgres/password" \
        --auth-local=trust --auth-host=password --encoding=UTF8 --locale=C --no-instructions
    passed_step 'initdb' || exit 1

    # Whoever listens on a port is found by trying; below the range that the kernel gives to clients.
    for try in 1 2 3 4 5 6 7 8; do
        port=$((20000 + RANDOM % 12000))
        if as_postgres pg_ctl --pgdata="$postgres/data" --log="$postgres/log" --timeout=60 --wait --silent \
            --options="$(postgres_options "$port")" start >"$scratch/log/pg_ctl" 2>&1; then
            export KEYWARD_TEST_POSTGRES_DATA=$postgres/data
            export KEYWARD_TEST_POSTGRES=postgres://postgres:$password@127.0.0.1:$port/postgres
            return
        fi
    done
    cat "$scratch/log/pg_ctl" >&2
    tail -n 20 "$postgres/log" >&2 || true
    die "PostgreSQL did not start on any of $try ports"
}

# Durability is what is tested, so nothing that it rests on is turned off.
postgres_options() {
    printf -- '-c %s ' "port=$1" listen_addresses=127.0.0.1 unix_socket_directories= fsync=on \
        synchronous_commit=on full_page_writes=on max_connections=300
}

stop_postgres() {
    [[ -n ${postgres:-} && -f $postgres/data/postmaster.pid ]] || return 0
    as_postgres pg_ctl --pgdata="$postgres/data" --mode=immediate --wait --silent stop >/dev/null 2>&1 || true
}
