# shellcheck shell=bash
# The main job: what an admin, a storage service, a stranger and an auditor do with one key. Each refusal is expected, and
# its absence ends the script. Sourced by quickstart.sh, not executed.

alias=''
# Where `encrypted` looks: the folder of the first files, or that of the one made after the rotation.
ring=encrypted
context=()
forged=''
# What must be on record in the end.
writes=0
reads=0

# Everything made from PATH stays under one folder, and only encrypted copies outlive the run.
choose_files() {
    work=$data/quickstart
    rm -rf "$work"
    (umask 077 && mkdir -p "$work/encrypted")
    if [[ -z $source_path ]]; then
        begin 'Make sample records'
        source_path=$work/sample
        make_sample "$source_path"
    else
        begin "Look at $source_path"
    fi
    mapfile -d '' files < <(cd "$source_path" && find . -type f -printf '%P\0' | sort -z)
    ((${#files[@]} > 0)) || die "there are no files in $source_path"
    done_with "${#files[@]} files, $(du -sh --apparent-size "$source_path" | cut -f 1) in $source_path"
}

tell_story() {
    create_key
    bind_storage
    encrypt_and_read
    rotate_and_read
    rewrap_and_read
    admin_cannot_unwrap
    stranger_can_nothing
    revoke
    storage_is_refused
    audit
}

create_key() {
    begin 'An admin creates a key; it is made in the HSM and never leaves it'
    alias=records
    # A name is never given twice, and an earlier run has revoked its key.
    if as_admin key show alias/$alias >/dev/null 2>&1; then
        alias=records-$(date -u +%Y%m%d-%H%M%S)
        note 'alias/records is taken by an earlier run'
    fi
    shown as_admin key create --alias "$alias" --class clinical --description 'Quickstart'
    done_with "alias/$alias"
}

bind_storage() {
    local role
    begin 'The admin lets the service "storage" wrap, unwrap and rewrap with it; the admin may not'
    for role in wrapper unwrapper rewrapper; do
        quiet as_admin binding create storage "$role" --key "alias/$alias"
    done
    done_with 'three bindings, each in force when its command returned'
}

encrypt_and_read() {
    begin 'The storage service encrypts every file, with a data key and an encryption context each'
    note "storage: kms encrypt FILE --key alias/$alias --context department=radiology --context file=NAME --out FILE.kw"
    for_each encrypt_file
    done_with "${#files[@]} files under $work/encrypted"

    begin 'It decrypts them and compares'
    note 'storage: kms decrypt FILE.kw --context department=radiology --context file=NAME --out FILE'
    for_each read_file
    set_context 'another name'
    refused invalid_wrapped_key as_storage decrypt "$(encrypted "${files[0]}")" "${context[@]}" --out "$work/stolen"
    done_with "${#files[@]} files, every byte the same; under another name, a file is not readable"
}

rotate_and_read() {
    begin 'The admin rotates the key'
    shown as_admin key rotate "alias/$alias"
    done_with 'the next data keys are wrapped by version 2'

    begin 'The storage service reads the old files, and writes and reads new ones'
    for_each read_file
    ring=new
    encrypt_file "${files[0]}"
    read_file "${files[0]}"
    ring=encrypted
    done_with 'files of both versions are read'
}

rewrap_and_read() {
    begin 'It moves the old files to the new version: only data keys are wrapped anew'
    note 'storage: kms rewrap FILE.kw --context department=radiology --context file=NAME'
    for_each rewrap_file
    for_each read_file
    done_with "${#files[@]} files rewrapped and read again"
}

admin_cannot_unwrap() {
    begin 'The admin tries to read a file'
    set_context "${files[0]}"
    refused not_permitted as_admin decrypt "$(encrypted "${files[0]}")" --out "$work/stolen" "${context[@]}"
    done_with 'refused: who administers a key does not use it'
}

stranger_can_nothing() {
    begin 'A stranger with a forged admin token tries everything'
    forged=${KMS_ADMIN_TOKEN%.*}.$(head -c 64 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '=')
    set_context "${files[0]}"
    refused unauthenticated as_stranger whoami
    refused unauthenticated as_stranger key list
    refused unauthenticated as_stranger key revoke "alias/$alias" --reason mischief
    refused unauthenticated as_stranger binding create storage auditor --all
    refused unauthenticated as_stranger encrypt "$source_path/${files[0]}" --key "alias/$alias" --out "$work/stolen"
    refused unauthenticated as_stranger decrypt "$(encrypted "${files[0]}")" --out "$work/stolen" "${context[@]}"
    refused unauthenticated as_stranger audit search --key "alias/$alias"
    done_with 'refused every time'
}

revoke() {
    begin 'The admin revokes the key'
    shown as_admin key revoke "alias/$alias" --reason 'shown in the quickstart'
    done_with 'no answer under this key leaves the server from now on'
}

storage_is_refused() {
    local file
    begin 'The storage service tries to read its files, and to write one'
    for file in "${files[@]}"; do
        set_context "$file"
        refused key_revoked as_storage decrypt "$(encrypted "$file")" --out "$work/stolen" "${context[@]}"
    done
    refused key_revoked as_storage encrypt "$source_path/${files[0]}" --key "alias/$alias" --out "$work/stolen"
    done_with "refused for all ${#files[@]} files"
}

audit() {
    begin 'The auditor reads the record of all this'
    shown as_auditor audit search --key "alias/$alias" --all
    recorded create_key 1
    recorded generate $((writes + 1))
    # And one under another name, one by the admin, and all after the revocation.
    recorded unwrap $((reads + 2 + ${#files[@]}))
    recorded rewrap ${#files[@]}
    recorded rotate_key 1
    recorded revoke_key 1
    done_with "each was on disk before its answer left: $writes files written, $reads read, ${#files[@]} rewrapped, and every refusal"
}

# recorded ACTION COUNT: exactly so many records of it on this key, however they ended. The first line is a heading.
recorded() {
    local found
    found=$(as_auditor audit search --key "alias/$alias" --action "$1" --all | tail -n +2 | wc -l)
    ((found == $2)) || die "$2 operations $1 were asked for, and $found are on record"
}

# Who calls: each with one credential, which no command line shows.
as_admin() { KMS_TOKEN=$KMS_ADMIN_TOKEN "$bin/kms" "$@"; }
as_auditor() { KMS_TOKEN=$KMS_AUDITOR_TOKEN "$bin/kms" "$@"; }
as_stranger() { KMS_TOKEN=$forged "$bin/kms" "$@"; }
as_storage() { KMS_CERT_FILE=$KMS_STORAGE_CERT_FILE KMS_KEY_FILE=$KMS_STORAGE_KEY_FILE "$bin/kms" "$@"; }

# What is done to one file. Its context binds it to its place: the same bytes under another name cannot be read.
set_context() { context=(--context department=radiology --context "file=$1"); }
encrypted() { printf '%s' "$work/$ring/$1.kw"; }

encrypt_file() {
    set_context "$1"
    as_storage encrypt "$source_path/$1" --key "alias/$alias" "${context[@]}" --out "$(encrypted "$1")" >/dev/null
    ! cmp -s "$source_path/$1" "$(encrypted "$1")" || die "$1 was not encrypted"
    writes=$((writes + 1))
}

read_file() {
    set_context "$1"
    as_storage decrypt "$(encrypted "$1")" "${context[@]}" --out "$work/decrypted" >/dev/null
    cmp "$source_path/$1" "$work/decrypted" || die "$1 came back different"
    rm -f "$work/decrypted"
    reads=$((reads + 1))
}

rewrap_file() {
    set_context "$1"
    as_storage rewrap "$(encrypted "$1")" "${context[@]}" >/dev/null
}

# shown CALLER COMMAND...: prints the command and what it says.
shown() {
    note_command "$@"
    "$@" 2>&1 | sed 's/^/    /' || die 'this failed: see above'
}

note_command() {
    local line="${1#as_}: kms" word
    for word in "${@:2}"; do
        [[ $word != *' '* ]] || word="'$word'"
        line+=" $word"
    done
    note "$line"
}

# quiet CALLER COMMAND...: prints the command, and what it says only when it fails.
quiet() {
    local said
    note_command "$@"
    said=$("$@" 2>&1) || die "this failed: $said"
}

# refused CODE CALLER COMMAND...: succeeds only when the server refuses with this code.
refused() {
    local code=$1 said status=0
    shift
    said=$("$@" 2>&1) || status=$?
    ((status != 0)) || die "${1#as_} was NOT refused: kms ${*:2}"
    grep -qE "code $code(,|$)" <<<"$said" || die "${1#as_} was to be refused with $code, and got: $said"
    [[ ! -e $work/stolen || -z $(find "$work/stolen" -type f) ]] || die "${1#as_} was refused and yet has a file"
}

# for_each COMMAND: with every file, and a count on a terminal.
for_each() {
    local file count=0
    for file in "${files[@]}"; do
        count=$((count + 1))
        [[ ! -t 1 ]] || printf '\r    %d of %d' "$count" "${#files[@]}"
        "$1" "$file"
    done
    [[ ! -t 1 ]] || printf '\r\e[K'
}
