#!/usr/bin/env bash
# Restarts the PostgreSQL that tests/run.sh started, with the options that it has. `fast` ends its sessions and writes
# everything out first; `immediate` is a crash.
set -euo pipefail

# shellcheck source=services.sh
source "$(dirname "${BASH_SOURCE[0]}")/services.sh"

as_postgres pg_ctl --pgdata="$KEYWARD_TEST_POSTGRES_DATA" --log="${KEYWARD_TEST_POSTGRES_DATA%/data}/log" --mode="${1:?fast or immediate}" \
    --timeout=60 --wait --silent restart
