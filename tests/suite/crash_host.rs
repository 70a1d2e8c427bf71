//! `accept-database` killed at every step. It can be given again and then the server starts, with the older state and on
//! record; until all of it is remembered, the server does not take the older copy for its own.

use std::os::unix::process::ExitStatusExt as _;

use keyward_tests::{Backend, Ended, SIGKILL, StoppedKms, copy_database, from, program, put_back_database, run, until};
use kms_client::wire::{data_key::GenerateDataKey, key::KeyState, name::KeyName};
use serde_json::json;

use crate::crash::{allowed, installation, whole};

/// The steps in their order, whether the change has happened when the command dies there, and whether everything that
/// remembers knows of it.
const STEPS: [(&str, bool, bool); 5] = [
    ("change.before_commit", false, false),
    ("change.committed", true, false),
    ("audit.before_commit", true, false),
    ("audit.committed", true, false),
    ("host.remembered", true, true),
];

async fn accept(stopped: &StoppedKms, crash_at: Option<&str>) -> Ended {
    let mut command = program("kms-server");
    command.arg("accept-database").arg("--config").arg(stopped.config_file()).args(["--reason", "the disk was lost"]);
    if let Some(place) = crash_at {
        command.env("KEYWARD_CRASH_AT", place);
    }
    run(&mut command).await
}

/// Puts the database back to before this key was revoked, and another made.
async fn older(stopped: StoppedKms, key: &KeyName) -> StoppedKms {
    let copy = stopped.folder().join("copy");
    copy_database(&stopped.config, &copy).await;
    let kms = stopped.start_again().await.unwrap();
    let ada = kms.client("ada");
    ada.revoke_key(key, "stolen".parse().unwrap()).await.unwrap();
    ada.create_key(&from(json!({ "alias": "later", "data_class": "clinical" }))).await.unwrap();
    let stopped = kms.stop().await;
    put_back_database(&stopped.config, &copy).await;
    stopped
}

async fn every_step_of_accept(backend: Backend) {
    for (step, happened, remembered) in STEPS {
        let (stopped, key) = installation(backend).await;
        let stopped = older(stopped, &key).await;

        let killed = accept(&stopped, Some(step)).await;
        assert_eq!((killed.status.signal(), killed.out.as_str()), (Some(SIGKILL), ""), "{step}: {killed:?}");
        whole(&stopped.config_file(), step).await;
        let mut accepted = usize::from(happened);

        if remembered {
            let nothing = accept(&stopped, None).await;
            assert!(!nothing.status.success() && nothing.err.contains("there is nothing to accept"), "{nothing:?}");
        } else {
            let refusal = stopped.refusal().await.to_string();
            assert!(refusal.contains("kms-server accept-database"), "{step}: {refusal}");
            let again = accept(&stopped, None).await;
            assert!(again.status.success(), "{step}: {again:?}");
            accepted += 1;
        }

        let kms = stopped.start_again().await.unwrap();
        whole(&kms.folder().join("kms.toml"), step).await;
        assert_eq!(allowed(&kms, "accept_database").await, accepted, "{step}");
        assert_eq!(kms.client("ada").key(&key).await.unwrap().key.state, KeyState::Enabled, "{step}");
        let (storage, generate): (_, GenerateDataKey) = (kms.client("storage"), from(json!({ "key": key })));
        until(async || storage.generate_data_key(&generate).await.ok()).await;
        kms.stop().await;
    }
}

on_both! {
    every_step_of_accept: killed_at_every_step_of_accept_on_sqlite, killed_at_every_step_of_accept_on_postgres;
}
