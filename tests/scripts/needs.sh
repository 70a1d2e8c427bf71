# shellcheck shell=bash
# Gets what a run needs and does not find: Debian packages through apt, cargo's own tools built once into a cached folder.
# Versions are pinned here, so that a new one is a change that somebody made. Sourced, not executed.

nextest_version=0.9.151
deny_version=0.20.2

need_toolchain() {
    command -v cargo >/dev/null || die 'cargo was not found: install the Rust toolchain (rustup) and run this again'
}

need_packages() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v c++ >/dev/null || missing+=(g++)
    command -v softhsm2-util >/dev/null || missing+=(softhsm2)
    [[ -n ${KEYWARD_TEST_POSTGRES:-} || -n $(postgres_bin) ]] || missing+=(postgresql)
    # What the pages for operators and developers type.
    command -v curl >/dev/null || missing+=(curl)
    command -v jq >/dev/null || missing+=(jq)
    command -v sqlite3 >/dev/null || missing+=(sqlite3)
    command -v pg_dump >/dev/null || missing+=(postgresql-client)
    [[ -n $(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1') ]] || missing+=(faketime)
    ((${#missing[@]} > 0)) || return 0

    as_root=()
    command -v apt-get >/dev/null || die "install these with your system's package manager: ${missing[*]}"
    if ((EUID != 0)); then
        may_sudo || die "not root, and sudo is not allowed here: as root, run 'apt-get install ${missing[*]}'"
        as_root=(sudo -n)
    fi
    step "install ${missing[*]}" apt_install "${missing[@]}"
    passed_step "install ${missing[*]}" || exit 1
}

# Asks for a password only where somebody can type one.
may_sudo() {
    command -v sudo >/dev/null || return 1
    sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }
}

apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# need_tool NAME VERSION [cargo install options]: cargo's subcommand NAME, in the version pinned or any that is installed.
need_tool() {
    local name=$1 version=$2 folder
    shift 2
    folder=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/keyward/tools/$name-$version
    if [[ -x $folder/bin/$name ]]; then
        PATH=$folder/bin:$PATH
        return
    fi
    ! command -v "$name" >/dev/null || return 0
    # They run for seconds: a quick build is worth more than a quick program.
    step "build $name $version into $folder" \
        env CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$folder" --version "$version" "$@" "$name"
    passed_step "build $name $version into $folder" || exit 1
    PATH=$folder/bin:$PATH
}

need_nextest() { need_tool cargo-nextest "$nextest_version" --no-default-features --features default-no-update; }

need_deny() { need_tool cargo-deny "$deny_version" --no-default-features; }
