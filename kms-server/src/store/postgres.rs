//! PostgreSQL: any number of nodes, one database. What its settings must promise is checked here, and nowhere else.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use tokio::{sync::Mutex, time::interval};

use super::{Claim, Error, Tx};

/// An open PostgreSQL database.
#[derive(Debug, Clone)]
pub struct Postgres {
    options: Arc<PgConnectOptions>,
    pool: PgPool,
    /// For control changes alone: a cut does not wait for those who read.
    changes: PgPool,
    writable: bool,
    /// The connection that holds the claim, for life.
    claim: Arc<Mutex<Option<PgConnection>>>,
}

impl Postgres {
    pub(super) async fn open(url: &SecretString, connections: u32) -> Result<Self, Error> {
        // Whatever the server's default, a commit on our connections waits for the disk; and as long as it takes, for a wait for
        // a standby that is given up counts as a success with a warning.
        let options = parse(url)?.options([("synchronous_commit", "on"), ("statement_timeout", "0")]);
        try_out(&options).await?;
        let postgres = Self {
            pool: pool(connections).connect_with(options.clone()).await?,
            changes: pool(CHANGES).connect_lazy_with(options.clone()),
            options: options.into(),
            writable: true,
            claim: Arc::default(),
        };
        postgres.check_durability().await?;
        Ok(postgres)
    }

    pub(super) async fn open_to_read(url: &SecretString, connections: u32) -> Result<Self, Error> {
        let options = parse(url)?.options([("default_transaction_read_only", "on")]);
        try_out(&options).await?;
        Ok(Self {
            pool: pool(connections).connect_with(options.clone()).await?,
            changes: pool(CHANGES).connect_lazy_with(options.clone()),
            options: options.into(),
            writable: false,
            claim: Arc::default(),
        })
    }

    /// The same database by connections of their own, made on the runtime that first uses them.
    pub(super) fn apart(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
            pool: pool(APART).connect_lazy_with((*self.options).clone()),
            changes: pool(1).connect_lazy_with((*self.options).clone()),
            writable: self.writable,
            claim: Arc::default(),
        }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn check_url(url: &SecretString) -> Result<(), Error> {
        parse(url).map(drop)
    }

    pub(super) fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    pub(super) async fn migrate(&self) -> Result<(), Error> {
        if !self.writable {
            return Err(Error::ReadOnly);
        }
        MIGRATIONS.run(&self.pool).await.map_err(|error| Error::Migration(Box::new(error)))
    }

    pub(super) async fn begin(&self) -> Result<Tx<'static>, Error> {
        if !self.writable {
            return Err(Error::ReadOnly);
        }
        Ok(Tx::postgres(self.changes.begin().await?))
    }

    pub(super) async fn read(&self) -> Result<Tx<'static>, Error> {
        Ok(Tx::postgres(self.pool.begin_with(BEGIN_TO_READ).await?))
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        if !self.writable {
            return Err(Error::ReadOnly);
        }
        let connecting = PgConnection::connect_with(&self.options);
        Ok(tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| Error::TimedOut)??)
    }

    /// As [`Postgres::begin`], on a connection of the caller's.
    pub(super) async fn begin_on(connection: &mut PgConnection) -> Result<Tx<'_>, Error> {
        Ok(Tx::postgres(connection.begin().await?))
    }

    /// Takes the database for this process. One that has just ended may hold it for a moment longer.
    pub(super) async fn claim(&self, claim: Claim) -> Result<(), Error> {
        let sql = match claim {
            Claim::Alone => "SELECT pg_try_advisory_lock($1)",
            Claim::Together => "SELECT pg_try_advisory_lock_shared($1)",
        };
        let mut connection = self.connect().await?;
        let mut tries = interval(CLAIM_AGAIN);
        for _ in 0..CLAIM_TRIES {
            tries.tick().await;
            if sqlx::query_scalar(sql).bind(CLAIM).fetch_one(&mut connection).await? {
                *self.claim.lock().await = Some(connection);
                return Ok(());
            }
        }
        Err(Error::Claimed)
    }

    pub(super) async fn close(&self) {
        if let Some(mut connection) = self.claim.lock().await.take() {
            // Given back before the connection ends, so that whoever comes next need not wait for that.
            let _given_back = sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut connection).await;
            let _closed = connection.close().await;
        }
        self.changes.close().await;
        self.pool.close().await;
    }

    /// Refuses a server that acknowledges what a power loss undoes. A pooler between us and it may drop our options, so
    /// `synchronous_commit` is read back. That a standby has the commit too is for a later check of the same place.
    async fn check_durability(&self) -> Result<(), Error> {
        const SQL: &str = "SELECT current_setting($1)";
        for (setting, durable) in DURABILITY {
            let value: String = sqlx::query_scalar(SQL).bind(*setting).fetch_one(&self.pool).await?;
            if !durable.contains(&value.as_str()) {
                return Err(Error::NotDurable { setting, value });
            }
        }
        Ok(())
    }
}

fn parse(url: &SecretString) -> Result<PgConnectOptions, Error> {
    // The library takes any scheme, and fills in what is missing.
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.expose_secret().starts_with(scheme)) {
        return Err(Error::InvalidUrl);
    }
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| Error::InvalidUrl)?;
    Ok(options.application_name("keyward").disable_statement_logging())
}

/// Connects once. The pool would try again and again, and then not say why it could not.
async fn try_out(options: &PgConnectOptions) -> Result<(), Error> {
    let connecting = PgConnection::connect_with(options);
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| Error::TimedOut)?;
    connection.map_err(Error::Connect)?.close().await?;
    Ok(())
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections.max(1)).acquire_timeout(CONNECT_TIMEOUT)
}

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

const BEGIN_TO_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// What the claim is called among the database's advisory locks: "keyward" in ASCII.
const CLAIM: i64 = 0x006b_6579_7761_7264;
const CLAIM_AGAIN: Duration = Duration::from_millis(100);
const CLAIM_TRIES: u32 = 30;
/// How many control changes may be at the database at once; more would wait for one another there.
const CHANGES: u32 = 2;
/// One that listens, and one that reads.
const APART: u32 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Settings, and the values with which an acknowledged commit survives the loss of power.
const DURABILITY: &[(&str, &[&str])] =
    &[("fsync", &["on"]), ("full_page_writes", &["on"]), ("synchronous_commit", &["on", "remote_apply"])];
