//! The public keys of other servers.

use crate::{Reader, Txn, error::Result};

/// A public key of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKeyRow {
    /// The server.
    pub server_name: String,
    /// The key's id, such as `ed25519:a_1`.
    pub key_id: String,
    /// The key, in unpadded base64.
    pub public_key: String,
    /// What was signed later must not be signed with it.
    pub valid_until_ms: i64,
    /// Whether its server uses it no longer.
    pub is_retired: bool,
}

/// What a server published of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKeyDocument {
    /// The server.
    pub server_name: String,
    /// A key that it told of last in this document.
    pub key_id: String,
    /// The document, signed by the server.
    pub document: String,
}

impl Reader {
    /// What is known of the keys of these servers.
    pub async fn list_server_keys(&mut self, servers: &[String]) -> Result<Vec<ServerKeyRow>> {
        Ok(sqlx::query_as!(
            ServerKeyRow,
            "SELECT server_name, key_id, public_key, valid_until_ms, is_retired
             FROM server_keys
             WHERE server_name = ANY($1)",
            servers
        )
        .fetch_all(self.conn())
        .await?)
    }

    /// The documents that told of the keys of these servers, the newest first.
    pub async fn list_server_key_documents(&mut self, servers: &[String]) -> Result<Vec<ServerKeyDocument>> {
        Ok(sqlx::query_as!(
            ServerKeyDocument,
            "SELECT server_name, key_id, document
             FROM server_keys
             WHERE server_name = ANY($1)
             ORDER BY server_name, fetched_at DESC, key_id",
            servers
        )
        .fetch_all(self.conn())
        .await?)
    }
}

impl Txn {
    /// Notes keys of servers, all told by one document of `server_name`.
    pub async fn upsert_server_keys(
        &mut self,
        keys: &[ServerKeyRow],
        document: &str,
        fetched_at: i64,
    ) -> Result<()> {
        let texts = |text: fn(&ServerKeyRow) -> &str| -> Vec<String> {
            keys.iter().map(|key| text(key).to_owned()).collect()
        };
        let (servers, key_ids) = (texts(|key| &key.server_name), texts(|key| &key.key_id));
        let public_keys = texts(|key| &key.public_key);
        let valid_until_ms: Vec<i64> = keys.iter().map(|key| key.valid_until_ms).collect();
        let is_retired: Vec<bool> = keys.iter().map(|key| key.is_retired).collect();
        // In one order, so that two replicas that learn of the same keys do not wait for each other in a circle.
        sqlx::query!(
            "INSERT INTO server_keys
                 (server_name, key_id, public_key, valid_until_ms, is_retired, document, fetched_at)
             SELECT k.server_name, k.key_id, k.public_key, k.valid_until_ms, k.is_retired, $6, $7
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[])
                 AS k(server_name, key_id, public_key, valid_until_ms, is_retired)
             ORDER BY k.server_name, k.key_id
             ON CONFLICT (server_name, key_id) DO UPDATE SET
                 public_key = EXCLUDED.public_key,
                 valid_until_ms = EXCLUDED.valid_until_ms,
                 is_retired = EXCLUDED.is_retired,
                 document = EXCLUDED.document,
                 fetched_at = EXCLUDED.fetched_at",
            &servers,
            &key_ids,
            &public_keys,
            &valid_until_ms,
            &is_retired,
            document,
            fetched_at
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
