//! Rooms that this server is not in, and what its users are there: invited, knocking, or no longer so.

use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
    records::Outcome,
    stream::Position,
};
use ruma::{OwnedRoomId, OwnedServerName, RoomVersionId, ServerName};

use crate::{
    Reader, Txn,
    append::{AppendUnit, MembershipChange, NewEvent, NewHead},
    error::Result,
    log::{LogEntry, LogKind},
};

/// A room that nothing is known of but its name.
#[derive(Clone, Debug)]
pub struct StubRoom {
    /// The number it gets, unless it has one.
    pub nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Now, in milliseconds.
    pub now_ms: i64,
}

/// A change of a local user's membership in a room that this server is not in.
#[derive(Clone, Debug)]
pub struct OutsideMember {
    /// The user.
    pub user: UserNid,
    /// What they become.
    pub membership: Membership,
    /// The member event. It gets no place in the timeline.
    pub event: NewEvent,
    /// What the user is shown of the room; `None` takes away what there was.
    pub shown: Option<StrippedState>,
}

/// What users outside are shown of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrippedState {
    /// A JSON array of stripped state events.
    pub state: String,
    /// Servers to ask about the room, the likeliest first.
    pub servers: Vec<OwnedServerName>,
}

impl Reader {
    /// What a user is shown of a room that this server is not in.
    pub async fn find_stripped_state(
        &mut self,
        room: RoomNid,
        user: UserNid,
    ) -> Result<Option<StrippedState>> {
        let row = sqlx::query!(
            "SELECT state, servers FROM stripped_states WHERE room_nid = $1 AND user_nid = $2",
            room.0,
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| StrippedState {
            state: row.state,
            servers: row.servers.into_iter().filter_map(|name| name.try_into().ok()).collect(),
        }))
    }
}

impl Txn {
    /// Makes a room of which nothing is known, or finds it; returns its number.
    pub async fn upsert_stub_room(&mut self, room: &StubRoom) -> Result<RoomNid> {
        let made = sqlx::query_scalar!(
            "WITH made AS (
               INSERT INTO rooms (room_nid, room_id, room_version, is_published, created_at)
               VALUES ($1, $2, $3, FALSE, $4)
               ON CONFLICT (room_id) DO NOTHING
               RETURNING room_nid
             )
             INSERT INTO room_heads (room_nid, version, state_group, forward_extremities, depth, last_position)
             SELECT room_nid, 0, 0, '{}', 0, 0 FROM made
             RETURNING room_nid",
            room.nid.0,
            room.room_id.as_str(),
            room.version.as_str(),
            room.now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        if let Some(nid) = made {
            return Ok(RoomNid(nid));
        }
        let nid = sqlx::query_scalar!("SELECT room_nid FROM rooms WHERE room_id = $1", room.room_id.as_str())
            .fetch_one(self.conn())
            .await?;
        Ok(RoomNid(nid))
    }

    /// Corrects the version of a room of which nothing else is known.
    pub async fn set_stub_version(&mut self, room: RoomNid, version: &RoomVersionId) -> Result<()> {
        sqlx::query!(
            "UPDATE rooms SET room_version = $2
             FROM room_heads h
             WHERE rooms.room_nid = $1 AND h.room_nid = $1 AND h.version = 0",
            room.0,
            version.as_str()
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes what a local user becomes in a room. `false`, with nothing written, when `own` server is in the room: then its
    /// state says what its users are.
    pub async fn set_outside_member(
        &mut self,
        room: RoomNid,
        own: &ServerName,
        mut member: OutsideMember,
    ) -> Result<bool> {
        // Whoever joins meanwhile moves the head, and waits for this lock.
        sqlx::query!("SELECT FROM room_heads WHERE room_nid = $1 FOR UPDATE", room.0)
            .fetch_optional(self.conn())
            .await?;
        if self.is_server_joined(room, own).await? {
            return Ok(false);
        }
        match &member.shown {
            Some(shown) => self.upsert_stripped_state(room, member.user, shown).await?,
            None => self.delete_stripped_state(room, member.user).await?,
        }
        let known = self.find_event_nids(&[&member.event.record.event_id]).await?;
        match known.into_values().next() {
            Some(nid) => member.event.record.nid = nid,
            None => self.insert_outside_event(&member.event).await?,
        }
        // The log is locked from here on.
        let position = self.take_positions(1).await?;
        self.note_outside_member(room, member, position).await?;
        Ok(true)
    }

    /// Forgets what users were shown of a room before this server was in it.
    pub async fn delete_stripped_states(&mut self, room: RoomNid) -> Result<()> {
        sqlx::query!("DELETE FROM stripped_states WHERE room_nid = $1", room.0).execute(self.conn()).await?;
        Ok(())
    }

    async fn note_outside_member(
        &mut self,
        room: RoomNid,
        member: OutsideMember,
        position: Position,
    ) -> Result<()> {
        let record = member.event.record.clone();
        let change = MembershipChange { user: member.user, membership: member.membership, event: record.nid };
        let unit = AppendUnit {
            room,
            expected_version: 0,
            create: None,
            head: NewHead {
                state_group: hs_model::ids::StateGroupNid(0),
                forward_extremities: Vec::new(),
                depth: 0,
            },
            events: vec![member.event],
            state_groups: Vec::new(),
            state_changes: Vec::new(),
            memberships: vec![change],
            corrections: Vec::new(),
            replaces_room: false,
            former_outliers: Vec::new(),
            found: Vec::new(),
            completeness: None,
            rejudged: Vec::new(),
        };
        let units = std::slice::from_ref(&unit);
        self.upsert_memberships(units, position).await?;
        self.insert_notices(units, position).await?;
        self.note(LogEntry {
            position,
            kind: LogKind::Event,
            room: Some(room),
            user: Some(record.sender_nid),
            subject: Some(record.nid.0),
            event: Some(record.into()),
            change: None,
            is_local: true,
        });
        Ok(())
    }

    async fn insert_outside_event(&mut self, event: &NewEvent) -> Result<()> {
        let record = &event.record;
        let notice = record.notice.as_deref();
        sqlx::query!(
            "WITH json AS (INSERT INTO event_json (event_nid, json) VALUES ($1, $11))
             INSERT INTO events (event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, depth, origin_server_ts,
               outcome, prev_nids, auth_nids, notice)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '{}', '{}', $10)",
            record.nid.0,
            record.event_id.as_str(),
            record.room.0,
            record.sender_nid.0,
            event.type_nid.0,
            record.slot.map(|slot| slot.0),
            record.depth,
            record.origin_server_ts,
            Outcome::Accepted.code(),
            notice.map_or(0, hs_model::notices::Notice::code),
            &*record.json
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    async fn upsert_stripped_state(
        &mut self,
        room: RoomNid,
        user: UserNid,
        shown: &StrippedState,
    ) -> Result<()> {
        let servers: Vec<String> = shown.servers.iter().map(ToString::to_string).collect();
        sqlx::query!(
            "INSERT INTO stripped_states (room_nid, user_nid, state, servers)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (room_nid, user_nid) DO UPDATE SET state = EXCLUDED.state, servers = EXCLUDED.servers",
            room.0,
            user.0,
            shown.state,
            &servers
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    async fn delete_stripped_state(&mut self, room: RoomNid, user: UserNid) -> Result<()> {
        sqlx::query!("DELETE FROM stripped_states WHERE room_nid = $1 AND user_nid = $2", room.0, user.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
