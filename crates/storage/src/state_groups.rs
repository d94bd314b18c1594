//! State groups: immutable sets of state, stored as differences.

use std::collections::HashMap;

use hs_model::ids::{EventNid, RoomNid, SlotNid, StateGroupNid};

use crate::{Reader, Txn, error::Result};

/// In a difference, instead of an event: the slot is empty.
pub const EMPTIED: EventNid = EventNid(0);

/// One stored group: the difference from its parent.
#[derive(Clone, Debug)]
pub struct StateGroupRow {
    /// Its number.
    pub nid: StateGroupNid,
    /// What it differs from.
    pub parent: Option<StateGroupNid>,
    /// Its number in its line.
    pub height: i64,
    /// What differs.
    pub delta: Vec<(SlotNid, EventNid)>,
}

impl Reader {
    /// A group and its ancestors, the group itself first.
    pub async fn list_state_group_chain(&mut self, group: StateGroupNid) -> Result<Vec<StateGroupRow>> {
        let rows = sqlx::query!(
            r#"WITH RECURSIVE chain AS (
                 SELECT state_group, parent, height, slots, events, 0 AS step
                 FROM state_groups WHERE state_group = $1
                 UNION ALL
                 SELECT g.state_group, g.parent, g.height, g.slots, g.events, chain.step + 1
                 FROM chain JOIN state_groups g ON g.state_group = chain.parent
               )
               SELECT state_group AS "state_group!", parent, height AS "height!", slots AS "slots!", events AS "events!"
               FROM chain
               ORDER BY step"#,
            group.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| StateGroupRow {
                nid: StateGroupNid(row.state_group),
                parent: row.parent.map(StateGroupNid),
                height: row.height,
                delta: row.slots.into_iter().map(SlotNid).zip(row.events.into_iter().map(EventNid)).collect(),
            })
            .collect())
    }

    /// The whole state of a group.
    pub async fn find_state(&mut self, group: StateGroupNid) -> Result<HashMap<SlotNid, EventNid>> {
        let mut state = HashMap::new();
        for row in self.list_state_group_chain(group).await? {
            for (slot, event) in row.delta {
                state.entry(slot).or_insert(event);
            }
        }
        state.retain(|_, event| *event != EMPTIED);
        Ok(state)
    }

    /// What some slots hold in each of some groups.
    pub async fn find_state_slots(
        &mut self,
        groups: &[StateGroupNid],
        slots: &[SlotNid],
    ) -> Result<HashMap<StateGroupNid, HashMap<SlotNid, EventNid>>> {
        let mut found: HashMap<StateGroupNid, HashMap<SlotNid, EventNid>> = HashMap::new();
        if groups.is_empty() || slots.is_empty() {
            return Ok(found);
        }
        let groups: Vec<i64> = groups.iter().map(|group| group.0).collect();
        let slots: Vec<i64> = slots.iter().map(|slot| slot.0).collect();
        let rows = sqlx::query!(
            r#"WITH RECURSIVE chain AS (
                 SELECT state_group AS origin, parent, slots, events, 0 AS step
                 FROM state_groups WHERE state_group = ANY($1)
                 UNION ALL
                 SELECT chain.origin, g.parent, g.slots, g.events, chain.step + 1
                 FROM chain JOIN state_groups g ON g.state_group = chain.parent
               )
               SELECT DISTINCT ON (chain.origin, d.slot) chain.origin AS "origin!", d.slot AS "slot!", d.event AS "event!"
               FROM chain, UNNEST(chain.slots, chain.events) AS d (slot, event)
               WHERE chain.slots && $2 AND d.slot = ANY($2)
               ORDER BY chain.origin, d.slot, chain.step"#,
            &groups,
            &slots
        )
        .fetch_all(self.conn())
        .await?;
        for row in rows.into_iter().filter(|row| row.event != EMPTIED.0) {
            found
                .entry(StateGroupNid(row.origin))
                .or_default()
                .insert(SlotNid(row.slot), EventNid(row.event));
        }
        Ok(found)
    }

    /// The current state of a room.
    pub async fn list_current_state(&mut self, room: RoomNid) -> Result<Vec<(SlotNid, EventNid)>> {
        let rows = sqlx::query!("SELECT slot_nid, event_nid FROM current_state WHERE room_nid = $1", room.0)
            .fetch_all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|row| (SlotNid(row.slot_nid), EventNid(row.event_nid))).collect())
    }
}

impl Txn {
    /// Deletes the groups of a room that no event, no room and no other group refers to. Returns how many went.
    pub async fn delete_unused_state_groups(&mut self, room: RoomNid) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM state_groups g
             WHERE g.room_nid = $1
               AND NOT EXISTS (SELECT FROM state_groups child WHERE child.parent = g.state_group)
               AND NOT EXISTS (SELECT FROM room_heads h WHERE h.state_group = g.state_group)
               AND NOT EXISTS (SELECT FROM events e WHERE e.room_nid = $1 AND e.state_before = g.state_group)
               AND NOT EXISTS (SELECT FROM events e WHERE e.room_nid = $1 AND e.state_after = g.state_group)",
            room.0
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }
}
