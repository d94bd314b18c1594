//! Asking the policy servers that rooms have chosen.
//!
//! They are asked before an event goes into the queue of its room, never from within: a policy server that takes its time, or
//! never answers, holds up those whose events it is to sign, and nobody else who writes to the room. The queue only checks what
//! was found out (see `build/policy.rs`).
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hs_model::records::Outcome;
use hs_room_rules::{
    pdu::Pdu,
    policy::{POLICY, PolicyServer},
};
use hs_storage::{StorageError, graph::GraphNode};
use moka::sync::Cache;
use ruma::{EventId, OwnedEventId, OwnedServerName, ServerName};
use tokio::time::Instant;

use crate::{Room, Rooms, WriteError, ports::RemoteError, receive::Incoming};

/// How long a policy server has for all that it is asked in one go.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How many events it is asked about at the same time.
const MAX_ASKED_AT_ONCE: usize = 16;
/// How soon one that did not answer is asked again: at first, and at last.
const FIRST_PAUSE_MS: i64 = 5_000;
const LAST_PAUSE_MS: i64 = 60_000;
/// How many policy servers are remembered that did not answer.
const MAX_REMEMBERED: u64 = 10_000;

/// Policy servers that did not answer, and are left alone for a while.
#[derive(Debug)]
pub(crate) struct Pauses(Cache<OwnedServerName, Pause>);

#[derive(Clone, Copy, Debug)]
struct Pause {
    since_ms: i64,
    until_ms: i64,
    /// How often in a row there was no answer.
    failures: u32,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_REMEMBERED).time_to_idle(Duration::from_hours(1)).build())
    }

    fn is_paused(&self, server: &ServerName, now_ms: i64) -> bool {
        self.0.get(server).is_some_and(|pause| now_ms < pause.until_ms)
    }

    /// A question that was asked at `asked_ms` has had no answer. Several that fail together count once.
    fn note_failure(&self, server: &ServerName, asked_ms: i64, now_ms: i64) {
        let before = self.0.get(server);
        if before.is_some_and(|pause| pause.since_ms >= asked_ms) {
            return;
        }
        let failures = before.map_or(0, |pause| pause.failures);
        let pause_ms = (FIRST_PAUSE_MS << failures.min(10)).min(LAST_PAUSE_MS);
        let failures = failures.saturating_add(1);
        let pause = Pause { since_ms: now_ms, until_ms: now_ms + pause_ms, failures };
        self.0.insert(server.to_owned(), pause);
    }

    fn note_answer(&self, server: &ServerName) {
        self.0.invalidate(server);
    }
}

/// Why events go without the signature of a policy server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(HashMap<OwnedEventId, (PolicyServer, String)>);

impl Refusals {
    /// Why a server has not signed an event; `None` when it was not asked.
    pub(crate) fn of(&self, event: &EventId, server: &PolicyServer) -> Option<&str> {
        self.0.get(event).filter(|(asked, _)| asked == server).map(|(_, why)| &**why)
    }
}

/// What is found out for events that are taken in together.
#[derive(Debug)]
pub(crate) struct Asking {
    deadline: Instant,
    pub(crate) refusals: Refusals,
}

impl Asking {
    pub(crate) fn new() -> Self {
        Self { deadline: Instant::now() + PATIENCE, refusals: Refusals::default() }
    }
}

impl Rooms {
    /// The policy server of a room, as memory knows its state.
    pub(crate) async fn policy_server(&self, room: &Room) -> Result<Option<PolicyServer>, StorageError> {
        let [policy] = self.current_state_pdus(room, [POLICY]).await?;
        let server = policy.and_then(|policy| PolicyServer::named_by(&policy));
        Ok(server.filter(|server| room.has_server(&server.via)))
    }

    /// An event of this server that goes to others before it is in the room, signed by the room's policy server where there is
    /// one.
    pub(crate) async fn approved(&self, room: &Room, pdu: Pdu) -> Result<Pdu, WriteError> {
        match self.policy_server(room).await? {
            Some(server) if PolicyServer::checks(&pdu) => {
                self.signed_by(&server, &pdu, Instant::now() + PATIENCE).await.map_err(WriteError::Policy)
            }
            _ => Ok(pdu),
        }
    }

    /// Has the room's policy server sign those of some events that it has not signed, as far as they can be taken in. The first
    /// one is asked about in any case if it `is_awaited`.
    pub(crate) async fn ask_policy_server(
        &self,
        room: &Room,
        events: &mut [Incoming],
        asking: &mut Asking,
        is_awaited: bool,
    ) -> Result<(), StorageError> {
        let Some(server) = self.policy_server(room).await? else { return Ok(()) };
        let is_unsigned = |incoming: &Incoming| {
            PolicyServer::checks(&incoming.pdu)
                && asking.refusals.of(incoming.pdu.event_id(), &server).is_none()
                // It may have got another key since it signed.
                && !server.has_signed(&incoming.pdu)
        };
        let mut unsigned: Vec<usize> =
            events.iter().enumerate().filter(|(_, incoming)| is_unsigned(incoming)).map(|(i, _)| i).collect();
        if unsigned.is_empty() {
            return Ok(());
        }
        let takeable = self.list_takeable(room, events).await?;
        unsigned.retain(|i| takeable.contains(i) || (is_awaited && *i == 0));
        let deadline = asking.deadline;
        let questions = unsigned.into_iter().map(|i| {
            let (pdu, server) = (events[i].pdu.clone(), &server);
            async move { (i, self.signed_by(server, &pdu, deadline).await) }
        });
        let answers: Vec<_> = stream::iter(questions).buffer_unordered(MAX_ASKED_AT_ONCE).collect().await;
        for (i, answer) in answers {
            match answer {
                Ok(signed) => events[i].pdu = Arc::new(signed),
                Err(error) => {
                    let why = format!("not signed by the policy server of the room: {error}");
                    let event_id = events[i].pdu.event_id().to_owned();
                    asking.refusals.0.insert(event_id, (server.clone(), why));
                }
            }
        }
        Ok(())
    }

    /// Which of the events are new, and have before them only what is known: the others need nobody's signature yet.
    async fn list_takeable(&self, room: &Room, events: &[Incoming]) -> Result<HashSet<usize>, StorageError> {
        let own: HashSet<&EventId> = events.iter().map(|incoming| incoming.pdu.event_id()).collect();
        let mut ids: HashSet<&EventId> = own.clone();
        for Incoming { pdu, .. } in events {
            ids.extend(pdu.prev_events().iter().chain(pdu.auth_events()).map(AsRef::<EventId>::as_ref));
        }
        let ids: Vec<&EventId> = ids.into_iter().collect();
        let nodes = self.inner.store.reader().await?.find_graph_nodes(&ids).await?;
        let node = |id: &EventId| nodes.get(id).filter(|node| node.room == room.nid);
        let is_takeable = |incoming: &Incoming| {
            let pdu = &incoming.pdu;
            let is_new = node(pdu.event_id())
                .is_none_or(|node| node.position.is_none() && node.outcome != Outcome::Rejected);
            let has_state =
                |id: &OwnedEventId| own.contains(&**id) || node(id).and_then(GraphNode::state).is_some();
            let is_known = |id: &OwnedEventId| own.contains(&**id) || node(id).is_some();
            is_new
                && (incoming.state_before.is_some() || pdu.prev_events().iter().all(has_state))
                && pdu.auth_events().iter().all(is_known)
        };
        Ok(events.iter().enumerate().filter(|(_, event)| is_takeable(event)).map(|(i, _)| i).collect())
    }

    /// An event with the signature of a policy server beside those it has.
    pub(crate) async fn signed_by(
        &self,
        server: &PolicyServer,
        pdu: &Pdu,
        deadline: Instant,
    ) -> Result<Pdu, RemoteError> {
        let unreachable = |why: &str| RemoteError::Unreachable(why.to_owned());
        let Some(port) = &self.inner.options.policy_servers else {
            return Err(unreachable("this server asks no others"));
        };
        let (pauses, clock) = (&self.inner.policy_pauses, &self.inner.clock);
        let asked_ms = clock.now_ms();
        if pauses.is_paused(&server.via, asked_ms) {
            return Err(unreachable("the policy server did not answer a moment ago"));
        }
        if Instant::now() >= deadline {
            return Err(unreachable("the policy server has too much to answer"));
        }
        let answer = tokio::time::timeout_at(deadline, port.sign(&server.via, pdu.json())).await;
        let answer = answer.unwrap_or_else(|_| Err(unreachable("the policy server did not answer in time")));
        match &answer {
            Err(RemoteError::Unreachable(_)) => {
                pauses.note_failure(&server.via, asked_ms, clock.now_ms());
            }
            Ok(_) | Err(RemoteError::Refused { .. }) => pauses.note_answer(&server.via),
        }
        server
            .add_signature(pdu, &answer?)
            .ok_or_else(|| unreachable("the policy server's signature is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn pauses_grow_and_end_with_an_answer() {
        let (pauses, server) = (Pauses::new(), server_name!("policy.example"));
        assert!(!pauses.is_paused(server, 0));
        pauses.note_failure(server, 0, 1);
        assert!(pauses.is_paused(server, FIRST_PAUSE_MS));
        assert!(!pauses.is_paused(server, FIRST_PAUSE_MS + 1));
        let again_ms = FIRST_PAUSE_MS + 2;
        pauses.note_failure(server, again_ms, again_ms);
        assert!(pauses.is_paused(server, again_ms + 2 * FIRST_PAUSE_MS - 1));
        pauses.note_answer(server);
        assert!(!pauses.is_paused(server, again_ms));
    }

    #[test]
    fn questions_that_fail_together_count_once() {
        let (pauses, server) = (Pauses::new(), server_name!("policy.example"));
        for _ in 0..10 {
            pauses.note_failure(server, 0, 100);
        }
        assert!(!pauses.is_paused(server, 100 + FIRST_PAUSE_MS));
    }

    #[test]
    fn pauses_end_after_a_minute_at_most() {
        let (pauses, server) = (Pauses::new(), server_name!("policy.example"));
        let mut now_ms = 0;
        for _ in 0..50 {
            now_ms += LAST_PAUSE_MS;
            pauses.note_failure(server, now_ms, now_ms + 1);
        }
        assert!(!pauses.is_paused(server, now_ms + 1 + LAST_PAUSE_MS));
    }
}
