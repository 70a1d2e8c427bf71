#!/usr/bin/env bash
# Keyward's main job, from nothing, on this machine only: builds the server and the `kms` command, starts a development
# server with master keys in SoftHSM, and encrypts a folder of files as a storage service would. Then everybody who should
# be refused is refused. A step that does not go as it says ends the script with an error.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/release
data=${KEYWARD_DATA:-$PWD/keyward-data}
port=${KEYWARD_PORT:-7443}
source_path=''
once=false
server=''
told=false

bold='' green='' red='' dim='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
fi

# shellcheck source=quickstart/machine.sh
source "$root/deploy/quickstart/machine.sh"
# shellcheck source=quickstart/sample.sh
source "$root/deploy/quickstart/sample.sh"
# shellcheck source=quickstart/story.sh
source "$root/deploy/quickstart/story.sh"

usage() {
    cat <<'USAGE'
usage: deploy/quickstart.sh [--once] [PATH]

  PATH     a folder of files to encrypt; they are only read. Sample records are made when none is given.
  --once   stop the server at the end.

The server keeps its data in ./keyward-data, or in the folder that KEYWARD_DATA names, and listens on port 7443 of
127.0.0.1, or on the one in KEYWARD_PORT; health and metrics are on the next. Running it again works.
USAGE
}

main() {
    parse_arguments "$@"
    trap 'leave $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # Whatever identity the caller has set for `kms` elsewhere is not ours.
    unset KMS_TOKEN KMS_TOKEN_FILE KMS_CERT_FILE KMS_KEY_FILE KMS_PROFILE

    open_data
    check_machine
    build
    start_server
    choose_files
    tell_story
    farewell
}

parse_arguments() {
    [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -lt 65535 ]] || die "KEYWARD_PORT is no port: $port"
    while (($# > 0)); do
        case $1 in
        --once) once=true ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*)
            printf 'quickstart: there is no option %s\n' "$1" >&2
            usage >&2
            exit 2
            ;;
        *)
            [[ -z $source_path ]] || die "one folder at a time: $source_path or $1"
            source_path=$1
            ;;
        esac
        shift
    done
}

die() {
    told=true
    printf '%squickstart: %s%s\n' "$red" "$1" "$plain" >&2
    exit 1
}

number=0

# begin TEXT, then done_with TEXT: one numbered step.
begin() {
    number=$((number + 1))
    printf '\n%s%2d. %s%s\n' "$bold" "$number" "$1" "$plain"
}

done_with() { printf '    %s✓%s %s\n' "$green" "$plain" "$1"; }

note() { printf '    %s%s%s\n' "$dim" "$1" "$plain"; }

farewell() {
    printf '\n%s✓ all %d steps in %d s%s\n' "$green" "$number" "$SECONDS" "$plain"
    if $once; then
        return
    fi
    cat <<NEXT

The server stays up at $KMS_URL (process $server, log $data/server.log).
To stop it:  kill $server

To go on as an admin:
  set -a; . $(printf '%q' "$data/dev.env"); set +a
  export PATH=$(printf '%q' "$bin"):\$PATH KMS_TOKEN=\$KMS_ADMIN_TOKEN
  kms whoami
  kms key list
  kms --help
and as the auditor:
  KMS_TOKEN=\$KMS_AUDITOR_TOKEN kms audit search --key alias/$alias
NEXT
    # From here on it is the caller's.
    server=''
}

leave() {
    trap '' INT TERM HUP
    # What is said by `die` needs no more words.
    if (($1 != 0 && number > 0)) && ! $told; then
        printf '%squickstart: ended in step %d%s\n' "$red" "$number" "$plain" >&2
    fi
    [[ -z $server ]] || stop_process "$server"
    exit "$1"
}

main "$@"
