//! Events in the order of the graph that their predecessors make.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_room_rules::pdu::Pdu;
use ruma::{EventId, OwnedEventId};

/// The events, each after those of them that come before it. What depth an event claims to have settles only what the graph
/// leaves open: anybody may claim anything.
pub(crate) fn in_order(events: HashMap<OwnedEventId, Arc<Pdu>>) -> Vec<Arc<Pdu>> {
    let mut starts: Vec<&Arc<Pdu>> = events.values().collect();
    starts.sort_by(|a, b| (a.depth(), a.event_id()).cmp(&(b.depth(), b.event_id())));
    let mut order = Vec::with_capacity(events.len());
    let (mut entered, mut left): (HashSet<&EventId>, HashSet<&EventId>) = Default::default();
    for start in starts {
        let mut stack = vec![(start.event_id(), false)];
        while let Some((id, is_left)) = stack.pop() {
            let Some(pdu) = events.get(id) else { continue };
            if is_left {
                if left.insert(id) {
                    order.push(pdu.clone());
                }
            } else if entered.insert(id) {
                stack.push((id, true));
                stack.extend(pdu.prev_events().iter().map(|prev| (&**prev, false)));
            }
        }
    }
    order
}
