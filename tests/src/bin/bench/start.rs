//! How long a new node takes to have the control state of a large installation: it is made, one change for each object as its
//! administrators would, and then loaded, found genuine and made ready several times. The keys have no objects in a token:
//! SoftHSM takes longer and longer to make one the more there are, and how fast they are found is the token's own affair.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use hsm::{Canary, ObjectId};
use keyward_tests::{Backend, Sql, TestKms};
use kms_client::{
    format::record::PrincipalKind,
    id::{BindingId, ChangeId, KeyId, KeyVersion, NodeId, PrincipalId},
};
use kms_server::{
    cluster::{Cluster, Proposal, Snapshot},
    config::Config,
    model::{
        Change, Clock, Environment, Error, Ids, NewKeyVersion, Operation, Period, Role, Rotation, Scope, SystemClock,
        Tags, Text,
    },
    policy::Policies,
    serve::Foundation,
    store::{HsmObject, HsmObjectState},
};

use super::Result;

const KEYS: usize = 10_000;
const PRINCIPALS: usize = 10_000;
const BINDINGS: usize = 100_000;
const STARTS: usize = 3;
/// So many changes are timed together.
const FEW: u32 = 1_000;

/// Makes the installation and starts it.
pub(super) async fn measure(backend: Backend) -> Result<()> {
    let stopped = TestKms::start(backend).await.stop().await;
    let made = Instant::now();
    make(&stopped.config).await?;
    eprintln!(
        "made {KEYS} keys, {PRINCIPALS} principals, {BINDINGS} bindings in {:.0} s",
        made.elapsed().as_secs_f64()
    );
    // Their records are no part of a start.
    let mut sql = Sql::connect(&stopped.config).await;
    sql.execute("DELETE FROM audit_intents").await;
    sql.close().await;
    for _ in 0..STARTS {
        let foundation = Foundation::open(&stopped.config, &clock()).await?;
        let began = Instant::now();
        let cluster = open_on(&foundation, &stopped.config).await?;
        let loaded = began.elapsed();
        assert_eq!(cluster.snapshot().state.keys_after(None).count(), KEYS);
        println!("{backend:?}: control state is loaded, genuine and ready in {:.2} s", loaded.as_secs_f64());
        foundation.store.close().await;
    }
    Ok(())
}

async fn open_on(foundation: &Foundation, config: &Config) -> Result<Cluster<Policies>> {
    let node = NodeId::new(fresh());
    let cell = Arc::new(OnceLock::new());
    let parts = foundation.cluster_parts(config, clock(), node, None, Box::new(|_, _| ()), cell)?;
    Ok(Cluster::load(parts).await?)
}

async fn make(config: &Config) -> Result<()> {
    let foundation = Foundation::open(config, &clock()).await?;
    let cluster = open_on(&foundation, config).await?;
    let mut keys = Vec::with_capacity(KEYS);
    for number in 0..KEYS {
        let (key, object) = (KeyId::new(fresh()), ObjectId::new(uuid::Uuid::new_v4().into_bytes()));
        let canary = Canary::from_bytes(&[7; 28]);
        let mut tx = foundation.store.begin().await?;
        let row = HsmObject {
            object,
            key,
            version: KeyVersion::FIRST,
            state: HsmObjectState::Creating,
            maker: cluster.node(),
            created_at: SystemClock.now(),
        };
        tx.insert_creating(&row).await?;
        tx.commit().await?;
        let create = Operation::CreateKey {
            key,
            aliases: vec![format!("key-{number}").parse()?],
            description: Text::default(),
            owner: None,
            tags: Tags::default(),
            data_class: "clinical".parse()?,
            region: config.region.clone(),
            environment: Environment::Production,
            key_store: config.key_store.name()?,
            rotation: Rotation::default(),
            material: NewKeyVersion { object, canary },
        };
        commit(&cluster, create).await?;
        keys.push(key);
    }
    let mut principals = Vec::with_capacity(PRINCIPALS);
    for number in 0..PRINCIPALS {
        let principal = PrincipalId::new(fresh());
        let create = Operation::CreatePrincipal {
            principal,
            name: format!("service-{number}").parse()?,
            kind: PrincipalKind::Service,
            person: None,
            environment: Environment::Production,
            team: None,
            description: Text::default(),
        };
        commit(&cluster, create).await?;
        principals.push(principal);
    }
    let (mut began, few) = (Instant::now(), usize::try_from(FEW)?);
    for number in 0..BINDINGS {
        if number == few || number == BINDINGS - few {
            began = Instant::now();
        }
        if number == 2 * few {
            eprintln!("a change at {number} bindings takes {:.2} ms", per_change(began));
        }
        let (Some(principal), Some(key)) = (principals.get(number % PRINCIPALS), keys.get(number / 10 % KEYS)) else {
            break;
        };
        let create = Operation::CreateBinding {
            binding: BindingId::new(fresh()),
            principal: *principal,
            role: Role::Unwrapper.into(),
            scope: Scope::Key(*key),
            period: Period::default(),
            sponsor: None,
            purpose: Text::default(),
        };
        commit(&cluster, create).await?;
    }
    eprintln!("a change at {BINDINGS} bindings takes {:.2} ms", per_change(began));
    foundation.store.close().await;
    Ok(())
}

/// Milliseconds, of the last [`FEW`] changes.
fn per_change(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3 / f64::from(FEW)
}

async fn commit(cluster: &Cluster<Policies>, operation: Operation) -> Result<()> {
    let change = Change { id: ChangeId::new(fresh()), expected: None, operation };
    let decide = |snapshot: &Snapshot<Policies>, revision, now| {
        let rows = change.apply(&snapshot.state, revision, now)?;
        Ok::<_, Error>(Proposal { rows, record: (), intent: vec![0], once: None })
    };
    let committed = cluster.commit(&change, None, decide).await;
    committed.map(drop).map_err(|error| format!("a change was not made: {error:?}").into())
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn fresh() -> uuid::Uuid {
    Ids.fresh(SystemClock.now())
}
