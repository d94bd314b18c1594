//! The server speaks to people: each has one room for it, in which an account without a password writes.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-notices>

use std::sync::Arc;

use hs_accounts::{Accounts, AdminError, Failure, NewUser};
use hs_model::{ids::UserNid, membership::Membership, records::TransactionRef};
use hs_rooms::{
    Intent, Room, RoomActions, Sender,
    create::{CreateRoom, CreateRoomError, Preset},
    membership::{MembershipError, MembershipOptions},
    send::SendError,
};
use hs_storage::{StorageError, accounts::AccountRow};
use ruma::{OwnedEventId, UserId};
use serde_json::{Map, Value, json};

use crate::config;

/// The tag by which clients know the room.
const TAG: &str = "m.server_notice";
/// The account data that holds tags.
const TAGS: &str = "m.tag";

/// What the server says.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// The type of the event.
    pub(crate) event_type: String,
    /// Its state key, for state.
    pub(crate) state_key: Option<String>,
    /// Its content, a JSON object.
    pub(crate) content: String,
}

/// Why a notice was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerNoticeError {
    /// The user is not of this server.
    #[error("Notices go to users of this server only")]
    NotLocal,
    /// There is no such account, or it is closed.
    #[error("There is no such account")]
    NotFound,
    /// The account that notices come from was closed.
    #[error("The account that notices come from is closed: set server_notices.localpart to another name")]
    NoSender,
    /// The user could not be invited.
    #[error(transparent)]
    Invite(MembershipError),
    /// The event could not be sent.
    #[error(transparent)]
    Send(SendError),
    /// The room could not be made.
    #[error(transparent)]
    Create(CreateRoomError),
    /// The account that notices come from could not be made.
    #[error(transparent)]
    Accounts(Failure),
    /// The database failed.
    #[error("the notice could not be sent")]
    Storage(#[from] StorageError),
}

/// Sends notices. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct ServerNotices {
    accounts: Arc<Accounts>,
    actions: RoomActions,
    options: Arc<config::ServerNotices>,
}

impl ServerNotices {
    /// Notices in the rooms of `actions`.
    pub(crate) fn new(accounts: Arc<Accounts>, actions: RoomActions, options: config::ServerNotices) -> Self {
        Self { accounts, actions, options: Arc::new(options) }
    }

    /// Sends a notice to a user, who is invited to the room if they are not in it.
    pub(crate) async fn send(
        &self,
        user_id: &UserId,
        notice: Notice,
        transaction: Option<TransactionRef>,
    ) -> Result<OwnedEventId, ServerNoticeError> {
        let user = self.find_target(user_id).await?;
        let sender = self.sender().await?;
        let room = self.room(user, &sender).await?;
        let membership = self.actions.rooms().membership(&room, user).await?;
        if !matches!(membership, Some(Membership::Join | Membership::Invite)) {
            self.tag(user, &room).await?;
            let options = MembershipOptions { target: user_id, reason: None };
            let invited = self.actions.invite(&room.room_id, &sender, options).await;
            invited.map_err(ServerNoticeError::Invite)?;
        }
        let sent = match notice.state_key {
            None => {
                let intent = Intent::message(notice.event_type, notice.content);
                self.actions.send_message(&room.room_id, sender, intent, transaction).await
            }
            Some(state_key) => {
                let intent = Intent::state(notice.event_type, state_key, notice.content);
                self.actions.send_state(&room.room_id, sender, intent, None).await
            }
        };
        sent.map_err(ServerNoticeError::Send)
    }

    /// Whether the room is the one in which the server speaks to the user.
    pub(crate) async fn is_notice_room(&self, user: UserNid, room: &Room) -> Result<bool, StorageError> {
        let notices = self.accounts.store().reader().await?.find_server_notice_room(user).await?;
        Ok(notices == Some(room.nid))
    }

    async fn find_target(&self, user_id: &UserId) -> Result<UserNid, ServerNoticeError> {
        if user_id.server_name() != self.accounts.server_name() {
            return Err(ServerNoticeError::NotLocal);
        }
        let store = self.accounts.store();
        let user = store.find_user(user_id).await?.ok_or(ServerNoticeError::NotFound)?;
        let account = store.reader().await?.find_account(user).await?;
        account.filter(|account| account.deactivated_at.is_none()).ok_or(ServerNoticeError::NotFound)?;
        Ok(user)
    }

    /// The account that notices come from, made when there is none.
    async fn sender(&self) -> Result<Sender, ServerNoticeError> {
        let name = &self.options.localpart;
        let user_id = UserId::parse(format!("@{name}:{}", self.accounts.server_name()))
            .map_err(|_| ServerNoticeError::NoSender)?;
        // The user may be known without having an account: another replica may be about to make it.
        if self.find_account(&user_id).await?.is_none() {
            let new = NewUser {
                username: name.clone(),
                displayname: Some(self.options.display_name.clone()),
                ..NewUser::default()
            };
            match self.accounts.admin_create_user(&new).await {
                // Another replica may have been faster.
                Ok(_) | Err(AdminError::UserInUse) => {}
                Err(AdminError::Failure(failure)) => return Err(ServerNoticeError::Accounts(failure)),
                Err(_) => return Err(ServerNoticeError::NoSender),
            }
        }
        let account = self.find_account(&user_id).await?;
        let open = account.filter(|(_, account)| account.deactivated_at.is_none());
        let (nid, _) = open.ok_or(ServerNoticeError::NoSender)?;
        Ok(Sender { nid, user_id })
    }

    async fn find_account(&self, user_id: &UserId) -> Result<Option<(UserNid, AccountRow)>, StorageError> {
        let store = self.accounts.store();
        let Some(user) = store.find_user(user_id).await? else { return Ok(None) };
        let account = store.reader().await?.find_account(user).await?;
        Ok(account.map(|account| (user, account)))
    }

    /// The room in which the server speaks to a user, made when there is none.
    async fn room(&self, user: UserNid, sender: &Sender) -> Result<Arc<Room>, ServerNoticeError> {
        let store = self.accounts.store();
        let known = store.reader().await?.find_server_notice_room(user).await?;
        if let Some(known) = known
            && let Some(room) = self.actions.rooms().find_by_nid(known).await?
        {
            return Ok(room);
        }
        let parameters = CreateRoom {
            preset: Preset::Private,
            name: Some(self.options.room_name.clone()),
            ..CreateRoom::default()
        };
        let room_id = self.actions.create_room(sender.clone(), parameters).await;
        let room_id = room_id.map_err(ServerNoticeError::Create)?;
        let unknown = || ServerNoticeError::Storage(StorageError::Closed);
        let room = self.actions.rooms().find(&room_id).await?.ok_or_else(unknown)?;
        let mut txn = store.begin().await?;
        let is_first = txn.insert_server_notice_room(user, room.nid).await?;
        txn.commit().await?;
        if is_first {
            return Ok(room);
        }
        // Another request was faster; nobody will ever see this room.
        let first = store.reader().await?.find_server_notice_room(user).await?.ok_or_else(unknown)?;
        self.actions.rooms().find_by_nid(first).await?.ok_or_else(unknown)
    }

    /// Marks the room for the user's clients, beside whatever tags it has.
    async fn tag(&self, user: UserNid, room: &Room) -> Result<(), StorageError> {
        let mut txn = self.accounts.store().begin().await?;
        let known = txn.find_account_data(user, Some(room.nid), TAGS).await?;
        let known = known.and_then(|content| serde_json::from_str::<Value>(&content).ok());
        let mut tags: Map<String, Value> =
            known.and_then(|content| content["tags"].as_object().cloned()).unwrap_or_default();
        if tags.contains_key(TAG) {
            return Ok(());
        }
        tags.insert(TAG.to_owned(), json!({}));
        let content = json!({ "tags": tags }).to_string();
        txn.upsert_account_data(user, Some(room.nid), TAGS, &content).await?;
        txn.commit().await
    }
}
