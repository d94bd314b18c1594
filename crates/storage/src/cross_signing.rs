//! Cross-signing keys and signatures.

use hs_model::{
    ids::{DeviceNid, UserNid},
    stream::Position,
};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    log::LogKind,
};

/// What a cross-signing key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum KeyUsage {
    /// The identity of the user; signs the other two.
    Master = 0,
    /// Signs the user's own devices.
    SelfSigning = 1,
    /// Signs other users' master keys.
    UserSigning = 2,
}

impl KeyUsage {
    fn from_code(code: i16, user: i64) -> Result<Self> {
        Ok(match code {
            0 => Self::Master,
            1 => Self::SelfSigning,
            2 => Self::UserSigning,
            _ => {
                return Err(StorageError::Inconsistent {
                    table: "cross_signing_keys",
                    column: "usage",
                    row: user.to_string(),
                });
            }
        })
    }
}

/// A cross-signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossSigningKeyRow {
    /// Whose.
    pub user: UserNid,
    /// What for.
    pub usage: KeyUsage,
    /// The key in unpadded base64.
    pub public_key: String,
    /// JSON object, as uploaded.
    pub key: String,
}

/// A signature of a master key.
#[derive(Clone, Debug)]
pub struct MasterKeySignature {
    /// Whose master key.
    pub target: UserNid,
    /// The master key.
    pub public_key: String,
    /// Who signed.
    pub signer: UserNid,
    /// With which key.
    pub signing_key_id: String,
    /// The signature.
    pub signature: String,
}

/// A signature of a device.
#[derive(Clone, Debug)]
pub struct DeviceSignature {
    /// The device.
    pub device: DeviceNid,
    /// The key of the same user that signed.
    pub signing_key_id: String,
    /// The signature.
    pub signature: String,
}

impl Reader {
    /// The cross-signing keys of users (by id).
    pub async fn list_cross_signing_keys(
        &mut self,
        user_ids: &[String],
    ) -> Result<Vec<(String, CrossSigningKeyRow)>> {
        let rows = sqlx::query!(
            "SELECT u.user_id, k.user_nid, k.usage, k.public_key, k.key
             FROM users u JOIN cross_signing_keys k USING (user_nid)
             WHERE u.user_id = ANY($1)
             ORDER BY u.user_id, k.usage",
            user_ids
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let usage = KeyUsage::from_code(row.usage, row.user_nid)?;
                let user = UserNid(row.user_nid);
                let key = CrossSigningKeyRow { user, usage, public_key: row.public_key, key: row.key };
                Ok((row.user_id, key))
            })
            .collect()
    }

    /// The cross-signing keys of users.
    pub async fn list_cross_signing_keys_of(&mut self, users: &[UserNid]) -> Result<Vec<CrossSigningKeyRow>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            "SELECT user_nid, usage, public_key, key FROM cross_signing_keys
             WHERE user_nid = ANY($1)
             ORDER BY user_nid, usage",
            &users
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let usage = KeyUsage::from_code(row.usage, row.user_nid)?;
                let user = UserNid(row.user_nid);
                Ok(CrossSigningKeyRow { user, usage, public_key: row.public_key, key: row.key })
            })
            .collect()
    }

    /// The cross-signing keys of a user.
    pub async fn list_own_cross_signing_keys(&mut self, user: UserNid) -> Result<Vec<CrossSigningKeyRow>> {
        let rows = sqlx::query!(
            "SELECT usage, public_key, key FROM cross_signing_keys WHERE user_nid = $1 ORDER BY usage",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let usage = KeyUsage::from_code(row.usage, user.0)?;
                Ok(CrossSigningKeyRow { user, usage, public_key: row.public_key, key: row.key })
            })
            .collect()
    }

    /// The signatures of the users' present master keys that a user may see, or another server: the user's own, and those of
    /// the owners' devices.
    pub async fn list_master_key_signatures(
        &mut self,
        targets: &[UserNid],
        viewer: Option<UserNid>,
    ) -> Result<Vec<(MasterKeySignature, String)>> {
        let targets: Vec<i64> = targets.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            "SELECT s.target_nid, s.public_key, s.signer_nid, s.signing_key_id, s.signature, u.user_id AS signer_id
             FROM master_key_signatures s
             JOIN cross_signing_keys k
               ON k.user_nid = s.target_nid AND k.usage = 0 AND k.public_key = s.public_key
             JOIN users u ON u.user_nid = s.signer_nid
             WHERE s.target_nid = ANY($1) AND (s.signer_nid = s.target_nid OR s.signer_nid = $2)
             ORDER BY s.target_nid, s.signer_nid, s.signing_key_id",
            &targets,
            viewer.map(i64::from)
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let signature = MasterKeySignature {
                    target: UserNid(row.target_nid),
                    public_key: row.public_key,
                    signer: UserNid(row.signer_nid),
                    signing_key_id: row.signing_key_id,
                    signature: row.signature,
                };
                (signature, row.signer_id)
            })
            .collect())
    }

    /// Whose keys a user has signed after a position and up to another.
    pub async fn list_user_signature_changes(
        &mut self,
        signer: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<UserNid>> {
        let targets = sqlx::query_scalar!(
            "SELECT target_nid
             FROM user_signature_changes
             WHERE signer_nid = $1 AND position > $2 AND position <= $3
             ORDER BY target_nid",
            signer.0,
            after.0,
            up_to.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(targets.into_iter().map(UserNid).collect())
    }

    /// Whether a user has a device with one of these ids.
    pub async fn has_device_named(&mut self, user: UserNid, device_ids: &[String]) -> Result<bool> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM devices WHERE user_nid = $1 AND device_id = ANY($2)) AS "found!""#,
            user.0,
            device_ids
        )
        .fetch_one(self.conn())
        .await?;
        Ok(found)
    }
}

impl Txn {
    /// Sets a cross-signing key.
    pub async fn upsert_cross_signing_key(&mut self, key: &CrossSigningKeyRow) -> Result<()> {
        sqlx::query!(
            "INSERT INTO cross_signing_keys (user_nid, usage, public_key, key)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (user_nid, usage)
             DO UPDATE SET public_key = EXCLUDED.public_key, key = EXCLUDED.key",
            key.user.0,
            key.usage as i16,
            key.public_key,
            key.key
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Replaces the cross-signing keys of users of other servers.
    pub async fn replace_cross_signing_keys(
        &mut self,
        users: &[UserNid],
        keys: &[CrossSigningKeyRow],
    ) -> Result<()> {
        let owners: Vec<i64> = users.iter().map(|user| user.0).collect();
        sqlx::query!("DELETE FROM cross_signing_keys WHERE user_nid = ANY($1)", &owners)
            .execute(self.conn())
            .await?;
        let users: Vec<i64> = keys.iter().map(|key| key.user.0).collect();
        let usages: Vec<i16> = keys.iter().map(|key| key.usage as i16).collect();
        let public_keys: Vec<&str> = keys.iter().map(|key| key.public_key.as_str()).collect();
        let texts: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
        sqlx::query!(
            "INSERT INTO cross_signing_keys (user_nid, usage, public_key, key)
             SELECT * FROM UNNEST($1::bigint[], $2::smallint[], $3::text[], $4::text[])",
            &users,
            &usages,
            &public_keys as &[&str],
            &texts as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes cross-signing keys that were signed by a master key which is no more, and the signatures of that.
    pub async fn delete_subordinate_keys(&mut self, user: UserNid) -> Result<()> {
        sqlx::query!("DELETE FROM cross_signing_keys WHERE user_nid = $1 AND usage <> 0", user.0)
            .execute(self.conn())
            .await?;
        sqlx::query!("DELETE FROM master_key_signatures WHERE target_nid = $1", user.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Adds signatures of devices, replacing those by the same keys.
    pub async fn upsert_device_signatures(&mut self, signatures: &[DeviceSignature]) -> Result<()> {
        let devices: Vec<i64> = signatures.iter().map(|signature| signature.device.0).collect();
        let keys: Vec<&str> = signatures.iter().map(|signature| signature.signing_key_id.as_str()).collect();
        let texts: Vec<&str> = signatures.iter().map(|signature| signature.signature.as_str()).collect();
        sqlx::query!(
            "INSERT INTO device_signatures (device_nid, signing_key_id, signature)
             SELECT new.*
             FROM UNNEST($1::bigint[], $2::text[], $3::text[]) AS new (device_nid, signing_key_id, signature)
             JOIN device_keys USING (device_nid)
             ON CONFLICT (device_nid, signing_key_id) DO UPDATE SET signature = EXCLUDED.signature",
            &devices,
            &keys as &[&str],
            &texts as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Adds signatures of master keys, replacing those by the same keys.
    pub async fn upsert_master_key_signatures(&mut self, signatures: &[MasterKeySignature]) -> Result<()> {
        let targets: Vec<i64> = signatures.iter().map(|signature| signature.target.0).collect();
        let public_keys: Vec<&str> =
            signatures.iter().map(|signature| signature.public_key.as_str()).collect();
        let signers: Vec<i64> = signatures.iter().map(|signature| signature.signer.0).collect();
        let keys: Vec<&str> = signatures.iter().map(|signature| signature.signing_key_id.as_str()).collect();
        let texts: Vec<&str> = signatures.iter().map(|signature| signature.signature.as_str()).collect();
        sqlx::query!(
            "INSERT INTO master_key_signatures (target_nid, public_key, signer_nid, signing_key_id, signature)
             SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[])
             ON CONFLICT (target_nid, public_key, signer_nid, signing_key_id)
             DO UPDATE SET signature = EXCLUDED.signature",
            &targets,
            &public_keys as &[&str],
            &signers,
            &keys as &[&str],
            &texts as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that a user has signed the keys of others. Takes positions: call it last.
    pub async fn log_user_signatures(&mut self, signer: UserNid, targets: &[UserNid]) -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let entries: Vec<(UserNid, Option<i64>)> =
            targets.iter().map(|target| (signer, Some(target.0))).collect();
        let first = self.log_all(LogKind::UserSignature, &entries).await?;
        let positions: Vec<i64> = (first.0..).take(targets.len()).collect();
        let targets: Vec<i64> = targets.iter().map(|target| target.0).collect();
        sqlx::query!(
            "INSERT INTO user_signature_changes (signer_nid, target_nid, position)
             SELECT $1, new.* FROM UNNEST($2::bigint[], $3::bigint[]) AS new (target_nid, position)
             ON CONFLICT (signer_nid, target_nid) DO UPDATE SET position = EXCLUDED.position",
            signer.0,
            &targets,
            &positions
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes what a user keeps here for encryption beside devices: cross-signing keys and backups, when the account is
    /// closed.
    pub async fn delete_encryption_data(&mut self, user: UserNid) -> Result<()> {
        sqlx::query!("DELETE FROM cross_signing_keys WHERE user_nid = $1", user.0)
            .execute(self.conn())
            .await?;
        sqlx::query!("DELETE FROM master_key_signatures WHERE target_nid = $1", user.0)
            .execute(self.conn())
            .await?;
        sqlx::query!("DELETE FROM key_backup_sessions WHERE user_nid = $1", user.0)
            .execute(self.conn())
            .await?;
        sqlx::query!("DELETE FROM key_backups WHERE user_nid = $1", user.0).execute(self.conn()).await?;
        Ok(())
    }
}
