//! [`TestDb`]: a fresh database, cloned from a migrated template.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use hs_storage::{Store, StoreOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

/// Names the superuser URL of the cluster that throw-away databases are made in. `./x test` sets it.
const URL_VARIABLE: &str = "KITH_TEST_DATABASE_URL";
/// Lock for making databases: a template can be copied by one session at a time.
const LOCK: i64 = 0x6b69_7468;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A database of its own for one test; dropped with the value.
#[derive(Debug)]
pub struct TestDb {
    name: String,
}

impl TestDb {
    /// Makes a database with the current schema.
    ///
    /// # Panics
    /// When there is no cluster to make it in.
    pub async fn new() -> Self {
        Self::try_new().await.expect("a Postgres cluster at KITH_TEST_DATABASE_URL (./x db start)")
    }

    async fn try_new() -> anyhow::Result<Self> {
        let template = TEMPLATE.get_or_try_init(make_template).await?;
        let name = format!("kith_test_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        create(&name, Some(template)).await?;
        Ok(Self { name })
    }

    /// The database's URL.
    pub fn url(&self) -> String {
        url_of(&self.name).expect("the variable was read before")
    }

    /// A store on it. Several are several replicas.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn store(&self) -> Store {
        let options =
            StoreOptions { max_connections: 5, min_connections: 0, ..StoreOptions::new(self.url()) };
        Store::connect(&options).await.expect("the database was just made")
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let name = self.name.clone();
        // Dropping has to wait for the database, and a test's runtime may be ending: use one of its own.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = connect().await?;
                // Names are made of letters and digits here.
                admin
                    .execute(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))
                    .await?;
                anyhow::Ok(())
            })
        });
        // A database left behind does no harm in a throw-away cluster.
        let _ = dropper.join();
    }
}

fn admin_url() -> anyhow::Result<String> {
    std::env::var(URL_VARIABLE).with_context(|| format!("{URL_VARIABLE} is not set"))
}

/// The admin URL with another database in its path.
fn url_of(name: &str) -> anyhow::Result<String> {
    let url = admin_url()?;
    let (scheme, rest) = url.split_once("://").context("not a URL")?;
    let (authority, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let query = rest.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    Ok(format!("{scheme}://{authority}/{name}{query}"))
}

async fn connect() -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = admin_url()?.parse()?;
    Ok(PgConnection::connect_with(&options).await?)
}

async fn create(name: &str, template: Option<&str>) -> anyhow::Result<()> {
    let mut admin = connect().await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut admin).await?;
    let template = template.map_or(String::new(), |template| format!(" TEMPLATE {template}"));
    // Names are made of letters and digits here.
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}{template}"))).await?;
    Ok(())
}

/// One migrated database for the process, which the others are copied from.
async fn make_template() -> anyhow::Result<String> {
    let name = format!("kith_template_{}", std::process::id());
    let mut admin = connect().await?;
    admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
    create(&name, None).await?;
    let store =
        Store::connect(&StoreOptions { min_connections: 0, ..StoreOptions::new(url_of(&name)?) }).await?;
    store.migrate().await?;
    store.close().await;
    Ok(name)
}
