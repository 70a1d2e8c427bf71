//! How long a decision takes. Run by hand, in release: `cargo test --release -p kms-server speed -- --ignored --nocapture`.

use std::{hint::black_box, sync::Arc, time::Duration};

use kms_client::{format::context::EncryptionContext, id::PrincipalId};

use super::{
    super::{Policies, authorise, may_describe},
    built_in,
    world::{NOW, World, caller, intent, request},
};
use crate::{
    authn::Intent,
    cluster::Snapshot,
    model::{Action, Clock as _, Environment, Role, Scope, SystemClock, Target},
};

const ROUNDS: u32 = 20_000;

#[test]
#[ignore = "prints figures, which mean something in release only"]
fn decision_time() {
    for (principals, keys, bindings) in [(3, 10, 1), (1_000, 1_000, 100)] {
        let mut world = World::new();
        let mut ids = Vec::new();
        for n in 0..keys {
            ids.push(world.key(Environment::Production, &format!("class{}", n % 100), "eu"));
        }
        let everybody: Vec<PrincipalId> =
            (0..principals).map(|n| world.principal(Environment::Production, &format!("p{n}"))).collect();
        for principal in &everybody {
            for key in ids.iter().take(bindings) {
                world.bind(*principal, Role::Unwrapper, Scope::Key(*key));
            }
        }
        let auditor = world.principal(Environment::Production, "auditor");
        world.bind(auditor, Role::Auditor, Scope::All);
        let snapshot = world.snapshot(&built_in());
        println!("{principals} principals, {keys} keys, {bindings} bindings each:");
        let context = Arc::new(EncryptionContext::from_pairs([("tenant", "a"), ("file", "b")]).unwrap());
        let unwrap = |principal: usize, key: usize| Intent {
            context: Some(Arc::clone(&context)),
            ..intent(everybody[principal % everybody.len()], Action::Unwrap, Target::Key(ids[key % ids.len()]))
        };
        time("unwrap, allowed, prepared", &snapshot, &[unwrap(0, 0)]);
        time("unwrap, denied, prepared", &snapshot, &[unwrap(0, keys - 1)]);
        let many: Vec<_> = (0..ROUNDS as usize).map(|n| unwrap(n / bindings, n % bindings)).collect();
        time("unwrap, spread over all", &snapshot, &many);
        time("rotate, denied", &snapshot, &[intent(everybody[0], Action::RotateKey, Target::Key(ids[0]))]);
        let before = SystemClock.boot();
        let caller = caller(auditor);
        let seen = snapshot
            .state
            .keys_after(None)
            .filter(|key| may_describe(&snapshot, NOW, &caller, &request(), key.id))
            .count();
        println!("  list of {seen} keys: {:?} each", since(before) / u32::try_from(seen).unwrap());
    }
}

fn since(before: Duration) -> Duration {
    SystemClock.boot().saturating_sub(before)
}

fn time(what: &str, snapshot: &Snapshot<Policies>, intents: &[Intent]) {
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS as usize);
    for intent in intents.iter().cycle().take(ROUNDS as usize) {
        let before = SystemClock.boot();
        drop(black_box(authorise(snapshot, NOW, intent)));
        times.push(since(before));
    }
    let mean = times.iter().sum::<Duration>() / ROUNDS;
    times.sort_unstable();
    println!("  {what}: mean {mean:?}, p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
