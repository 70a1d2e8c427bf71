#!/usr/bin/env bash
# Restarts the PostgreSQL that tests/run.sh started, with the options that it has. `fast` ends its sessions and writes
# everything out first; `immediate` is a crash.
set -euo pipefail

# shellcheck source=postgres.sh
source "$(dirname "${BASH_SOURCE[0]}")/postgres.sh"

data=$KEYWARD_TEST_POSTGRES_DATA
as_postgres pg_ctl --pgdata="$data" --log="${data%/data}/log" --mode="${1:?fast or immediate}" \
    --timeout=60 --wait --silent restart
