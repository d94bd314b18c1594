//! Bringing a transaction to a server, in parts where it is too large for it.

use std::{sync::Arc, time::Duration};

use ruma::ServerName;

use super::{
    sender::count_sent,
    transaction::{SendFailure, Transaction, Transport},
};

/// Sends a transaction, and returns when the server has taken all of it but what it will never take. A failure means that all
/// of it has to be sent again: the server knows the parts that it has taken by their ids.
pub(super) async fn deliver(
    transport: &dyn Transport,
    destination: &ServerName,
    transaction: &Arc<Transaction>,
    timeout: Duration,
) -> Result<(), SendFailure> {
    let mut waiting = vec![transaction.clone()];
    while let Some(part) = waiting.pop() {
        match transport.send_transaction(destination, &part, timeout).await {
            Ok(()) => count_sent(&part),
            Err(SendFailure::TooLarge(reason)) => {
                if let Some((first, second)) = part.halves() {
                    waiting.extend([second, first].map(Arc::new));
                } else {
                    let bytes: usize = part.pdus.iter().chain(&part.edus).map(|item| item.len()).sum();
                    tracing::warn!(
                        %destination, bytes, reason,
                        "a single item is too large for a server; going on without"
                    );
                }
            }
            Err(SendFailure::Refused(reason)) => {
                tracing::warn!(%destination, reason, "a server refuses what it is sent; going on without");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
