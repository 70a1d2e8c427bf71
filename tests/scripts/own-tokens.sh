#!/usr/bin/env bash
# Runs a test program with a SoftHSM folder of its own: a process that starts while others write to the same tokens sometimes
# meets CKR_GENERAL_ERROR. Cargo and nextest call it as their runner.
set -euo pipefail

folder=$(mktemp -d "$KEYWARD_TEST_SOFTHSM/XXXXXXXX")
mkdir -m 0700 "$folder/tokens"
# The module reads this variable once, before a test could set it.
export SOFTHSM2_CONF=$folder/softhsm2.conf
printf '%s\n' "directories.tokendir = $folder/tokens" 'objectstore.backend = file' 'log.level = ERROR' \
    'slots.removable = false' >"$SOFTHSM2_CONF"
# For the tests that load SoftHSM through `tests/pkcs11-faults`.
mkdir "$folder/faults"
export KEYWARD_PKCS11_FAULTS=$folder/faults KEYWARD_PKCS11_MODULE=$KEYWARD_TEST_SOFTHSM_MODULE
exec "$@"
