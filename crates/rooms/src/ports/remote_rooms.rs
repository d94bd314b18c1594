//! Rooms of which other servers know more than this one.

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use hs_model::membership::Membership;
use hs_room_rules::pdu::Pdu;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId};
use serde_json::value::RawValue;

use crate::membership::ProvenInvite;

/// Why another server did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteFailure {
    /// It could not be reached, or did not answer in time.
    #[error("{server} could not be asked: {reason}")]
    Unreachable {
        /// The server.
        server: OwnedServerName,
        /// What went wrong.
        reason: String,
    },
    /// It does not want to, and says why.
    #[error("{server} refused: {message}")]
    Refused {
        /// The server.
        server: OwnedServerName,
        /// The HTTP status.
        status: u16,
        /// The error code.
        errcode: String,
        /// Why, for people.
        message: String,
        /// The version of the room, where that is the reason.
        room_version: Option<String>,
    },
    /// What it answered is not what it must be.
    #[error("the answer of {server} cannot be used: {reason}")]
    Nonsense {
        /// The server.
        server: OwnedServerName,
        /// What is wrong with it.
        reason: String,
    },
}

/// The answer of [`RemoteRooms`].
pub type RemoteFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteFailure>> + Send + 'a>>;

/// What a user wants to become in a room.
#[derive(Clone, Copy, Debug)]
pub struct MemberWish<'a> {
    /// `Join`, `Knock` or `Leave`.
    pub membership: Membership,
    /// The room.
    pub room_id: &'a RoomId,
    /// The user, of this server.
    pub user_id: &'a UserId,
}

/// A member event to be, as a server in the room has prepared it. Nothing of it is checked.
#[derive(Clone, Debug)]
pub struct MemberTemplate {
    /// The version of the room; a server that does not say so means version 1.
    pub version: RoomVersionId,
    /// The event without hashes and signatures.
    pub event: Box<RawValue>,
}

/// What a server answers to a join. Signatures and hashes of the events are right; whoever takes them must check that they
/// belong together, and that the rules of rooms allow them.
#[derive(Clone, Debug)]
pub struct JoinAnswer {
    /// The state before the join.
    pub state: Vec<Arc<Pdu>>,
    /// What authorises it.
    pub auth_chain: Vec<Arc<Pdu>>,
    /// The join, where the server has added its signature.
    pub event: Option<Arc<Pdu>>,
    /// The servers in the room, when most members are left out of the state.
    pub servers: Option<Vec<OwnedServerName>>,
}

/// Which members a server is to send when it lets somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedMembers {
    /// All of them.
    All,
    /// As few as it likes.
    Few,
}

/// An invite for a user of another server.
#[derive(Clone, Debug)]
pub struct Invitation<'a> {
    /// The invite, signed by this server.
    pub pdu: &'a Pdu,
    /// The version of the room.
    pub version: &'a RoomVersionId,
    /// Events that tell the user what room it is.
    pub shown: Vec<Box<RawValue>>,
}

/// A room as a server in it tells those outside.
#[derive(Clone, Debug)]
pub struct RemoteRoom {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version; a server that does not say so means version 1.
    pub version: RoomVersionId,
    /// How many users have joined.
    pub joined: u64,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its canonical alias.
    pub canonical_alias: Option<String>,
    /// Its picture.
    pub avatar_url: Option<String>,
    /// Its type.
    pub room_type: Option<String>,
    /// Its join rule.
    pub join_rule: Option<String>,
    /// The rooms whose members may join.
    pub allowed_rooms: Vec<OwnedRoomId>,
    /// The algorithm by which messages are encrypted.
    pub encryption: Option<String>,
    /// Whether anybody may read it.
    pub is_world_readable: bool,
    /// Whether guests may join it.
    pub guests_can_join: bool,
    /// Its `m.space.child` events, stripped. Nothing of them is checked.
    pub children: Vec<Box<RawValue>>,
}

/// A space of which another server tells.
#[derive(Clone, Debug)]
pub struct RemoteSpace {
    /// The space.
    pub room: RemoteRoom,
    /// Those of its children that users of this server might see.
    pub children: Vec<RemoteRoom>,
    /// Those that none of them might.
    pub inaccessible: Vec<OwnedRoomId>,
}

/// Asks other servers about rooms that this server is not in, or needs their help with.
pub trait RemoteRooms: Send + Sync + Debug {
    /// Whether a server did not answer lately: whoever can choose asks others first.
    fn is_away(&self, server: &ServerName) -> bool;

    /// Has a member event prepared.
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        wish: MemberWish<'a>,
    ) -> RemoteFuture<'a, MemberTemplate>;

    /// Hands in a join.
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        join: &'a Pdu,
        wanted: WantedMembers,
    ) -> RemoteFuture<'a, JoinAnswer>;

    /// Hands in a knock; the answer is stripped state, or whole events.
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        knock: &'a Pdu,
    ) -> RemoteFuture<'a, Vec<Box<RawValue>>>;

    /// Hands in a leave.
    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> RemoteFuture<'a, ()>;

    /// Tells the server of an invited user; returns the invite with that server's signature, which is checked.
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        invitation: Invitation<'a>,
    ) -> RemoteFuture<'a, Box<RawValue>>;

    /// Has a user of this server invited by whose address they have.
    fn exchange_invite<'a>(
        &'a self,
        server: &'a ServerName,
        invite: &'a ProvenInvite,
    ) -> RemoteFuture<'a, ()>;

    /// What a room is, and what is in it if it is a space.
    fn space<'a>(&'a self, server: &'a ServerName, room_id: &'a RoomId) -> RemoteFuture<'a, RemoteSpace>;
}
