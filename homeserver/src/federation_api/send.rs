//! `PUT /_matrix/federation/v1/send/{txnId}`

use std::time::Duration;

use axum::extract::State;
use federation::inbound::transaction::{Transaction, TransactionError, Transactions};
use hs_http::{ApiError, Reply};
use ruma::api::federation::transactions::send_transaction_message::v1::{Request, Response};

use super::FederationArgs;

/// When a server that has sent too much at once may go on.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) async fn put(
    State(transactions): State<Transactions>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    if request.origin != origin {
        return Err(ApiError::forbidden("`origin` is not the server that signed the request"));
    }
    let transaction = Transaction {
        origin,
        txn_id: request.transaction_id.into(),
        pdus: request.pdus,
        edus: request.edus.into_iter().map(ruma::serde::Raw::into_json).collect(),
    };
    let results = transactions.receive(transaction).await.map_err(api_error)?;
    Ok(Reply(Response::new((*results).clone())))
}

fn api_error(error: TransactionError) -> ApiError {
    match error {
        TransactionError::TooMany => ApiError::bad_json(error.to_string()),
        TransactionError::TooManyWaiting => ApiError::limit_exceeded(RETRY_AFTER),
        TransactionError::Storage(cause) => ApiError::internal(cause),
    }
}
