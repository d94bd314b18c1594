//! The devices of a user.

use hs_model::ids::UserNid;
use hs_storage::{devices::DeviceRow, log::LogKind};

use crate::{
    Accounts, AuthError, Failure, Session, UiaBody,
    error::fails_with_storage,
    login::MAX_DEVICE_NAME_BYTES,
    uia::{Operation, Stage},
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

/// Why devices were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteDevicesError {
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
        txn.log(LogKind::DeviceList, None, Some(user)).await?;
        Ok(txn.commit().await?)
    }

    /// Deletes devices of the user and ends their sessions. Devices that do not exist are deleted already.
    pub async fn delete_devices(
        &self,
        session: &Session,
        mut device_ids: Vec<String>,
        body: UiaBody,
    ) -> Result<(), DeleteDevicesError> {
        device_ids.sort_unstable();
        device_ids.dedup();
        let operation = Operation::of(session, "delete_devices").on(&device_ids);
        let authorised = self.authorise(&operation, &[vec![Stage::Password]], body).await?;
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        if txn.delete_devices(session.user, &device_ids).await? > 0 {
            txn.log(LogKind::Session, None, Some(session.user)).await?;
            txn.log(LogKind::DeviceList, None, Some(session.user)).await?;
        }
        Ok(txn.commit().await?)
    }

    pub(crate) async fn remove_devices(&self, user: UserNid, device_ids: &[String]) -> Result<(), Failure> {
        let mut txn = self.store.begin().await?;
        if txn.delete_devices(user, device_ids).await? > 0 {
            txn.log(LogKind::Session, None, Some(user)).await?;
            txn.log(LogKind::DeviceList, None, Some(user)).await?;
        }
        Ok(txn.commit().await?)
    }
}
