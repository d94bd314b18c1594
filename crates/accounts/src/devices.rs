//! The devices of a user.

use hs_model::ids::UserNid;
use hs_storage::{StorageError, Txn, devices::DeviceRow, log::LogKind};
use serde::Deserialize;

use crate::{
    Accounts, AuthError, Failure, Session, UiaBody,
    error::fails_with_storage,
    login::MAX_DEVICE_NAME_BYTES,
    uia::{Authorised, Operation, Stage},
};

/// Why a device was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameDeviceError {
    /// The user has no such device.
    #[error("There is no device with this id")]
    NotFound,
    /// The name has too many bytes.
    #[error("The name of the device is too long")]
    TooLong,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(RenameDeviceError);

#[derive(Deserialize)]
struct DeleteParams {
    devices: Vec<String>,
}

/// Why devices were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteDevicesError {
    /// The body is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// The user must prove who they are.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(DeleteDevicesError);

impl Accounts {
    /// All devices of a user.
    pub async fn list_devices(&self, user: UserNid) -> Result<Vec<DeviceRow>, Failure> {
        Ok(self.store.reader().await?.list_devices(user).await?)
    }

    /// One device of a user.
    pub async fn find_device(&self, user: UserNid, device_id: &str) -> Result<Option<DeviceRow>, Failure> {
        Ok(self.store.reader().await?.find_device(user, device_id).await?)
    }

    /// Gives a device another name; with `None` it only checks that there is such a device.
    pub async fn rename_device(
        &self,
        user: UserNid,
        device_id: &str,
        display_name: Option<&str>,
    ) -> Result<(), RenameDeviceError> {
        let Some(display_name) = display_name else {
            let found = self.find_device(user, device_id).await?;
            return found.map(|_| ()).ok_or(RenameDeviceError::NotFound);
        };
        if display_name.len() > MAX_DEVICE_NAME_BYTES {
            return Err(RenameDeviceError::TooLong);
        }
        let mut txn = self.store.begin().await?;
        if !txn.rename_device(user, device_id, display_name).await? {
            return Err(RenameDeviceError::NotFound);
        }
        if txn.have_device_keys(user, &[device_id.to_owned()]).await? {
            txn.log(LogKind::DeviceList, None, Some(user)).await?;
        }
        Ok(txn.commit().await?)
    }

    /// One step of deleting a device of the user and ending its session. A device that does not exist is deleted already.
    pub async fn delete_device(
        &self,
        session: &Session,
        device_id: String,
        body: UiaBody,
    ) -> Result<(), DeleteDevicesError> {
        let device_ids = [device_id];
        let operation = Operation::of(session, "delete_device").on(&device_ids);
        let authorised = self.authorise(&operation, &[vec![Stage::Password]], body).await?;
        self.delete_authorised(session, &device_ids, &authorised).await
    }

    /// One step of deleting the devices of the user that the body names.
    pub async fn delete_devices(&self, session: &Session, body: UiaBody) -> Result<(), DeleteDevicesError> {
        let mut device_ids = DeleteParams::deserialize(body.params())
            .map_err(|error| DeleteDevicesError::Malformed(error.to_string()))?
            .devices;
        device_ids.sort_unstable();
        device_ids.dedup();
        let operation = Operation::of(session, "delete_devices").on(&device_ids);
        let authorised = self.authorise(&operation, &[vec![Stage::Password]], body).await?;
        self.delete_authorised(session, &device_ids, &authorised).await
    }

    async fn delete_authorised(
        &self,
        session: &Session,
        device_ids: &[String],
        authorised: &Authorised,
    ) -> Result<(), DeleteDevicesError> {
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        delete_and_log(&mut txn, session.user, device_ids).await?;
        Ok(txn.commit().await?)
    }

    pub(crate) async fn remove_devices(&self, user: UserNid, device_ids: &[String]) -> Result<(), Failure> {
        let mut txn = self.store.begin().await?;
        delete_and_log(&mut txn, user, device_ids).await?;
        Ok(txn.commit().await?)
    }
}

/// Takes positions: call it last.
async fn delete_and_log(txn: &mut Txn, user: UserNid, device_ids: &[String]) -> Result<(), StorageError> {
    // Others know only of devices with keys.
    let are_known = txn.have_device_keys(user, device_ids).await?;
    if txn.delete_devices(user, device_ids).await? > 0 {
        txn.log(LogKind::Session, None, Some(user)).await?;
        if are_known {
            txn.log(LogKind::DeviceList, None, Some(user)).await?;
        }
    }
    Ok(())
}
