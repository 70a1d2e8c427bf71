#!/usr/bin/env bash
# What no compiler checks: no path of one machine in a file, no source file past 500 lines (HOUSE 2), sound shell scripts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

longest=500
status=0

complain() {
    printf '%s\n' "$@"
    status=1
}

mapfile -d '' files < <(git ls-files -z --cached --others --exclude-standard)
if ((${#files[@]} == 0)); then
    complain 'git lists no files here'
    exit 1
fi

# The brackets keep this line from finding itself.
if found=$(printf '%s\0' "${files[@]}" | xargs -0 grep -nIsE '/[w]ork/|/[r]oot/|/[h]ome/[a-z]|/[U]sers/|/tmp/[t]arget' --); then
    complain 'paths of one machine:' "$found"
fi

scripts=()
for file in "${files[@]}"; do
    [[ -f $file ]] || continue
    [[ $(head -c 19 "$file" | tr -d '\0') != '#!/usr/bin/env bash' ]] || scripts+=("$file")
    lines=$(wc -l <"$file")
    ((lines > longest)) || continue
    case $file in
    LICENSE | *.lock | *vectors* | *snapshots* | *corpus*) ;;
    *.rs | *.sh | *.sql | *.cedar | *.toml) complain "$file has $lines lines: split it by subject" ;;
    *) grep -qI . "$file" && printf 'note: %s has %d lines\n' "$file" "$lines" ;;
    esac
done

if command -v shellcheck >/dev/null; then
    shellcheck --external-sources --check-sourced --source-path=SCRIPTDIR "${scripts[@]}" || status=1
else
    printf 'note: shellcheck is not installed, scripts were only parsed\n'
    for script in "${scripts[@]}"; do
        bash -n "$script" || status=1
    done
fi

exit "$status"
