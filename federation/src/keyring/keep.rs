//! Keeping keys in memory and in the database.

use std::{collections::BTreeMap, sync::Arc};

use hs_storage::{StorageError, server_keys::ServerKeyRow};
use ruma::{OwnedServerName, ServerName};

use super::{KeyDocument, Keyring, KeysByServer, KnownKeys, ServerKey};

impl Keyring {
    /// What the database knows of the keys of servers.
    pub(super) async fn load(&self, servers: &[OwnedServerName]) -> KeysByServer {
        match self.read(servers).await {
            Ok(found) => found,
            Err(error) => {
                // The servers themselves can still be asked.
                tracing::error!(error = %hs_http::error::Chain(&error), "cannot read keys of servers");
                KeysByServer::new()
            }
        }
    }

    async fn read(&self, servers: &[OwnedServerName]) -> Result<KeysByServer, StorageError> {
        let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let rows = self.inner.store.reader().await?.list_server_keys(&names).await?;
        let mut by_server: BTreeMap<String, KnownKeys> = BTreeMap::new();
        for ServerKeyRow { server_name, key_id, public_key, valid_until_ms, is_retired } in rows {
            let key = ServerKey { public_key, valid_until_ms, is_retired };
            by_server.entry(server_name).or_default().keys.insert(key_id, key);
        }
        let mut found = KeysByServer::new();
        for server in servers {
            let Some(known) = by_server.remove(server.as_str()) else { continue };
            let known = Arc::new(known);
            self.inner.known.insert(server.clone(), known.clone());
            found.insert(server.clone(), known);
        }
        Ok(found)
    }

    /// Notes what a document says; returns all that is known now of its server's keys.
    pub(super) async fn learn(
        &self,
        server: &ServerName,
        document: &KeyDocument,
        is_direct: bool,
    ) -> Arc<KnownKeys> {
        let mut merged = self.in_memory(server).map(|known| (*known).clone()).unwrap_or_default();
        merged.merge(document, is_direct);
        if let Err(error) = self.write(server, document, &merged).await {
            // They are good in memory, and will be fetched again.
            tracing::error!(%server, error = %hs_http::error::Chain(&error), "cannot keep the keys of a server");
        }
        let merged = Arc::new(merged);
        self.inner.known.insert(server.to_owned(), merged.clone());
        merged
    }

    async fn write(
        &self,
        server: &ServerName,
        document: &KeyDocument,
        merged: &KnownKeys,
    ) -> Result<(), StorageError> {
        let told = document.keys.keys().filter_map(|id| Some((id, merged.keys.get(id)?)));
        let rows: Vec<ServerKeyRow> = told
            .map(|(key_id, key)| ServerKeyRow {
                server_name: server.to_string(),
                key_id: key_id.clone(),
                public_key: key.public_key.clone(),
                valid_until_ms: key.valid_until_ms,
                is_retired: key.is_retired,
            })
            .collect();
        let mut txn = self.inner.store.begin().await?;
        txn.upsert_server_keys(&rows, &document.json, self.inner.clock.now_ms()).await?;
        txn.commit().await
    }
}
