# shellcheck shell=bash
# PostgreSQL's own programs, and the user that they want to be run by. Sourced, not executed.

# The newest PostgreSQL's folder of programs, or nothing.
postgres_bin() {
    local found
    found=$(find /usr/lib/postgresql -maxdepth 3 -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    found=${found:-$(command -v initdb || true)}
    [[ -z $found ]] || dirname "$found"
}

# as_postgres PROGRAM ARGUMENTS...: as a user that PostgreSQL accepts, in a folder that this user may read.
as_postgres() {
    local program
    program=$(postgres_bin)/$1
    shift
    (
        cd /
        ((EUID != 0)) || exec runuser -u postgres -- "$program" "$@"
        exec "$program" "$@"
    )
}
