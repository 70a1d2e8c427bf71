# shellcheck shell=bash
# The machine's part of the quickstart: what must be installed, the data folder, the build, and the server's process.
# Sourced by quickstart.sh, not executed.

check_machine() {
    local missing=()
    begin 'Look at this machine'
    command -v cargo >/dev/null || die 'cargo was not found: install the Rust toolchain (rustup) and run this again'
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v softhsm2-util >/dev/null || missing+=(softhsm2)
    ((${#missing[@]} == 0)) || install "${missing[@]}"
    # Before minutes of building; the server of an earlier run is stopped later.
    [[ -n $(earlier_server) ]] || check_ports
    done_with "$(cargo --version), $(softhsm2-util --version | sed 's/^/SoftHSM /')"
}

install() {
    local as_root=()
    command -v apt-get >/dev/null || die "install these with your system's package manager, then run this again: $*"
    if ((EUID != 0)); then
        may_sudo || die "$* is missing and sudo is not allowed here: have somebody run 'apt-get install $*' as root"
        as_root=(sudo -n)
    fi
    note "installing $*"
    {
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
    } </dev/null >/dev/null || die "apt-get could not install $*"
}

# Asks for a password only where somebody can type one.
may_sudo() {
    command -v sudo >/dev/null || return 1
    sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }
}

open_data() {
    if [[ -n $source_path ]]; then
        [[ -e $source_path ]] || die "there is no folder $source_path"
        [[ -d $source_path ]] || die "$source_path is not a folder"
        source_path=$(realpath "$source_path")
    fi
    (umask 077 && mkdir -p "$data") 2>/dev/null || die "cannot make the data folder $data: set KEYWARD_DATA to one that can be written"
    data=$(realpath "$data")
    # Keys and copies of files are nothing to commit by accident.
    { printf '*\n' >"$data/.gitignore"; } 2>/dev/null || die "cannot write into $data: set KEYWARD_DATA to a folder that can be written"
    if [[ -n $source_path && $data/ == "$source_path"/* ]]; then
        die "the data folder $data lies inside $source_path: set KEYWARD_DATA to a folder elsewhere"
    fi
}

build() {
    begin 'Build the server and the kms command (a few minutes the first time)'
    (cd "$root" && cargo build --release --locked -p kms-server -p kms-client) || die 'the build failed: see above'
    done_with "$bin/kms-server, $bin/kms"
}

start_server() {
    begin 'Start a development server on loopback'
    local earlier
    earlier=$(earlier_server)
    if [[ -n $earlier ]]; then
        note "stopping the server of an earlier run (process $earlier)"
        stop_process "$earlier"
    fi
    check_ports
    local marker=$data/.starting deadline=$((SECONDS + 60))
    : >"$marker"
    # A session of its own: Ctrl-C here is answered by this script, and the server outlives it.
    setsid "$bin/kms-server" dev --data-dir "$data" --listen "127.0.0.1:$port" \
        --operations "127.0.0.1:$((port + 1))" </dev/null >"$data/server.log" 2>&1 &
    server=$!
    printf '%d\n' "$server" >"$data/server.pid"
    until [[ $data/dev.env -nt $marker ]] && load_environment && is_ready; do
        kill -0 "$server" 2>/dev/null || server_failed 'the server did not start'
        ((SECONDS < deadline)) || server_failed 'the server was not ready within a minute'
        sleep 0.1
    done
    rm -f "$marker"
    done_with "$KMS_URL, process $server, data in $data"
}

# The process of this data folder's server, if an earlier quickstart left it running.
earlier_server() {
    local earlier
    earlier=$(cat "$data/server.pid" 2>/dev/null) || return 0
    [[ $earlier =~ ^[0-9]+$ ]] || return 0
    if tr '\0' ' ' 2>/dev/null <"/proc/$earlier/cmdline" | grep -qF "kms-server dev --data-dir $data "; then
        printf '%s' "$earlier"
    fi
}

check_ports() {
    local number
    for number in "$port" $((port + 1)); do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$number") 2>/dev/null ||
            die "port $number is in use: stop what listens there, or set KEYWARD_PORT to another (two in a row are needed)"
    done
}

load_environment() {
    set -a
    # shellcheck source=/dev/null
    source "$data/dev.env"
    set +a
}

# GET /readyz without needing curl: the health listener speaks plain HTTP on loopback.
is_ready() {
    local address=${KMS_HEALTH_URL#http://} line=''
    address=${address%%/*}
    {
        exec 3<>"/dev/tcp/${address%:*}/${address##*:}" || return 1
    } 2>/dev/null
    printf 'GET /readyz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$address" >&3
    read -r -t 5 line <&3 || true
    exec 3>&-
    [[ $line == 'HTTP/1.1 200 '* ]]
}

server_failed() {
    printf '\n%s\n' "the last lines of $data/server.log:" >&2
    tail -n 15 "$data/server.log" >&2
    die "$1: see above"
}

stop_process() {
    local wait_until=$((SECONDS + 15))
    kill -TERM "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null; do
        if ((SECONDS >= wait_until)); then
            kill -KILL "$1" 2>/dev/null || true
        fi
        sleep 0.1
    done
}
