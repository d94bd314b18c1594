//! Writing to rooms whose policy server has to sign what is written: events are built, signed by it, and then taken in like
//! those of other servers, so that the room's queue does not wait for it. What others write meanwhile is a fork.

use std::sync::Arc;

use futures_util::future::try_join_all;
use hs_room_rules::{pdu::Pdu, policy::PolicyServer};
use ruma::OwnedEventId;
use tokio::time::Instant;

use super::{Answer, MAX_ATTEMPTS, Written};
use crate::{
    Room, Rooms, WriteError, WriteRequest,
    build::{Batch, Built, Purpose},
    loading, policy,
    receive::{Incoming, PduOutcome},
};

/// Events that are built and not written, each with the policy server that has to sign it.
struct Unsigned {
    built: Vec<Built>,
    events: Vec<(Pdu, Option<PolicyServer>)>,
}

impl Rooms {
    /// An event that is built and checked, and not written: what another server is to sign as well. The room's policy server
    /// is not asked about it.
    pub async fn build_only(&self, room: &Arc<Room>, request: &WriteRequest) -> Result<Pdu, WriteError> {
        let (_, batch) = self.build_aside(room, request, Purpose::Show).await?;
        batch.into_last_pdu().ok_or(WriteError::Busy)
    }

    /// As [`write`](Self::write), with the signatures of the room's policy server.
    pub(super) async fn write_signed(&self, room: &Arc<Room>, request: &WriteRequest) -> Answer {
        let Unsigned { built, events } = self.build_unsigned(room, request).await?;
        let deadline = Instant::now() + policy::PATIENCE;
        let signed = events.into_iter().map(|(pdu, server)| async move {
            match server {
                Some(server) => self.signed_by(&server, &pdu, deadline).await,
                None => Ok(pdu),
            }
        });
        let signed = try_join_all(signed).await.map_err(WriteError::Policy)?;
        let incoming: Vec<Incoming> =
            signed.into_iter().map(|pdu| Incoming { pdu: Arc::new(pdu), state_before: None }).collect();
        if !incoming.is_empty() {
            let outcomes = match self.take_in(room, incoming, request.transaction.as_ref()).await {
                Ok(outcomes) => outcomes,
                Err(error) => return self.written_before(room, request).await?.ok_or(error),
            };
            outcomes.into_iter().try_for_each(refused)?;
        }
        let mut written = Vec::with_capacity(built.len());
        for event in built {
            written.push(match event {
                Built::New(_, event_id) => match self.find_event_in(room, &event_id).await? {
                    Some(event) => Written::New(event),
                    None => Written::Existing(event_id),
                },
                Built::Existing(event_id) => Written::Existing(event_id),
            });
        }
        self.remember_transaction(room, request, &written);
        Ok(written)
    }

    /// What was written for the same transaction by somebody who was faster.
    async fn written_before(
        &self,
        room: &Room,
        request: &WriteRequest,
    ) -> Result<Option<Vec<Written>>, WriteError> {
        let Some(transaction) = &request.transaction else { return Ok(None) };
        let mut reader = self.inner.store.reader().await?;
        let (device, txn_id) = (transaction.device, &transaction.txn_id);
        let known: Option<OwnedEventId> = reader.find_event_by_transaction(room.nid, device, txn_id).await?;
        Ok(known.map(|event_id| vec![Written::Existing(event_id)]))
    }

    async fn build_unsigned(&self, room: &Arc<Room>, request: &WriteRequest) -> Result<Unsigned, WriteError> {
        let (built, mut batch) = self.build_aside(room, request, Purpose::Sign).await?;
        let unsigned = batch.take_unsigned();
        let server_of = |pdu: &Pdu| {
            unsigned.iter().find(|(event_id, _)| event_id == pdu.event_id()).map(|(_, server)| server.clone())
        };
        let events = batch.pdus()?.into_iter().map(|pdu| {
            let server = server_of(&pdu);
            (pdu, server)
        });
        Ok(Unsigned { built, events: events.collect() })
    }

    /// A batch that is not written, with the events of a request. A refusal is one by the newest state.
    async fn build_aside<'a>(
        &'a self,
        room: &'a Arc<Room>,
        request: &WriteRequest,
        purpose: Purpose,
    ) -> Result<(Vec<Built>, Batch<'a>), WriteError> {
        for _ in 0..MAX_ATTEMPTS {
            if room.read().head.is_none() {
                loading::load_head(&self.inner.store, room).await?;
            }
            let Some(mut batch) = Batch::prepare_draft(self, room, request, purpose).await? else { continue };
            let version = batch.version();
            match batch.add(request).await {
                Err(WriteError::Forbidden(_) | WriteError::BadState(_))
                    if !self.is_current(room, version).await? => {}
                Err(error) => return Err(error),
                Ok(built) => return Ok((built, batch)),
            }
        }
        Err(WriteError::Busy)
    }
}

/// Why an event of this server is not in the room.
fn refused(outcome: PduOutcome) -> Result<(), WriteError> {
    crate::membership::accepted(vec![outcome]).map_err(WriteError::Forbidden)
}
