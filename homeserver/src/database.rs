//! Opening the database: the configured one, or our own.

use std::time::Duration;

use hs_storage::{StorageError, Store, StoreOptions};

use crate::{
    config::Config,
    postgres::{EmbeddedPostgres, PostgresError, PostgresOptions},
};

/// An open database, and the Postgres below it if that is ours.
#[derive(Debug)]
pub struct Database {
    /// The connections.
    pub store: Store,
    embedded: Option<EmbeddedPostgres>,
}

/// Why there is no database. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The embedded Postgres does not run.
    #[error(transparent)]
    Embedded(#[from] PostgresError),
    /// The database does not answer, or does not let us in.
    #[error(
        "cannot open the database at {place}: {error}; check database.url, and that the database is running"
    )]
    Connect {
        /// Where, without the password.
        place: String,
        /// Why not.
        error: String,
    },
    /// The schema is another than this version of Kith works with, or belongs to another server.
    #[error("{0}")]
    Schema(String),
}

/// Whether somebody else may be using the embedded Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The server: nobody else may run on the data directory.
    Exclusive,
    /// A command: a running server does not mind.
    Shared,
}

impl Database {
    /// Opens the database, starting our own Postgres if need be. Does not look at the schema.
    pub async fn open(config: &Config, access: Access) -> Result<Self, DatabaseError> {
        let embedded = if config.database.is_embedded() {
            let options = postgres_options(config);
            Some(match access {
                Access::Exclusive => EmbeddedPostgres::start(&options).await?,
                Access::Shared => EmbeddedPostgres::start_or_join(&options).await?,
            })
        } else {
            None
        };
        let url = embedded.as_ref().map_or_else(|| config.database.url.expose(), EmbeddedPostgres::url);
        let options = StoreOptions {
            url: url.to_owned(),
            max_connections: config.database.max_connections,
            min_connections: config.database.min_connections,
            acquire_timeout: Duration::from_secs(config.database.acquire_timeout_seconds),
        };
        match Store::connect(&options).await {
            Ok(store) => Ok(Self { store, embedded }),
            Err(error) => {
                let error = DatabaseError::Connect { place: without_password(url), error: chain(&error) };
                if let Some(embedded) = embedded {
                    embedded.stop().await;
                }
                Err(error)
            }
        }
    }

    /// Brings the schema up to date, and makes sure that the database is that of this server.
    pub async fn prepare(&self, config: &Config) -> Result<(), DatabaseError> {
        self.store.migrate().await.map_err(|error| DatabaseError::Schema(chain(&error)))?;
        self.store
            .claim_server_name(config.server.name.as_str())
            .await
            .map_err(|error| DatabaseError::Schema(chain(&error)))
    }

    /// Closes the connections, and stops our own Postgres.
    pub async fn close(self) {
        self.store.close().await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// What the embedded Postgres needs to know of the configuration.
pub fn postgres_options(config: &Config) -> PostgresOptions {
    let database = &config.database;
    PostgresOptions {
        data_dir: config.server.data_dir.clone(),
        bin_dir: Some(database.postgres_bin_dir.clone()).filter(|dir| !dir.as_os_str().is_empty()),
        user: Some(database.postgres_user.clone()).filter(|user| !user.is_empty()),
        max_connections: database.max_connections,
    }
}

fn chain(error: &StorageError) -> String {
    hs_http::error::Chain(error).to_string()
}

/// A database URL as it may be shown.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(unreadable URL)".to_owned() };
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let shown = match address.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}")
        }
        None => format!("{scheme}://{address}"),
    };
    // A password may also be a parameter.
    let socket = query.split('&').find(|parameter| parameter.starts_with("host="));
    socket.map_or_else(|| shown.clone(), |socket| format!("{shown}?{socket}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_does_not_show() {
        for (url, shown) in [
            ("postgres://kith:s3cret@db.example/kith", "postgres://kith@db.example/kith"),
            ("postgres://kith:p@ss@db.example/kith", "postgres://kith@db.example/kith"),
            ("postgres://db.example/kith?password=s3cret&user=x", "postgres://db.example/kith"),
            ("postgres://kith@localhost/kith?host=%2Frun", "postgres://kith@localhost/kith?host=%2Frun"),
            ("nonsense", "(unreadable URL)"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
