//! What rooms need of accounts: the profiles that go into member events.

use std::sync::Arc;

use hs_accounts::{Accounts, Failure};
use hs_model::ids::UserNid;
use hs_rooms::ports::{Profile, ProfileFuture, Profiles};
use hs_storage::StorageError;
use ruma::UserId;

/// The profiles that the accounts keep.
#[derive(Debug)]
pub(super) struct AccountProfiles(pub(super) Arc<Accounts>);

impl Profiles for AccountProfiles {
    fn profile<'a>(&'a self, user: UserNid, _user_id: &'a UserId) -> ProfileFuture<'a> {
        Box::pin(async move {
            match self.0.profile_of(user).await {
                Ok(profile) => Ok(Profile {
                    displayname: profile.displayname.clone(),
                    avatar_url: profile.avatar_url.clone(),
                }),
                Err(Failure::Storage(error)) => Err(error),
                // No password is involved in reading a profile.
                Err(Failure::Hashing(_)) => Err(StorageError::Closed),
            }
        })
    }
}
