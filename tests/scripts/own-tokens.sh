#!/usr/bin/env bash
# Runs a test program with a SoftHSM folder of its own: a process that starts while others write to the same tokens sometimes
# meets CKR_GENERAL_ERROR. Cargo and nextest call it as their runner.
set -euo pipefail

folder=$(mktemp -d "$KEYWARD_TEST_SOFTHSM/XXXXXXXX")
mkdir "$folder/tokens"
# The module reads this variable once, before a test could set it.
export SOFTHSM2_CONF=$folder/softhsm2.conf
printf '%s\n' "directories.tokendir = $folder/tokens" 'objectstore.backend = file' 'log.level = ERROR' \
    'slots.removable = false' >"$SOFTHSM2_CONF"
exec "$@"
