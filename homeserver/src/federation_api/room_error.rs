//! How servers are told that they do not get what they ask for.

use std::time::Duration;

use federation::inbound::rooms::AnswerError;
use hs_http::ApiError;
use hs_rooms::{WriteError, ports::RemoteError};
use http::StatusCode;

/// The error for a server.
pub(super) fn answer_error(error: AnswerError) -> ApiError {
    let message = error.to_string();
    let bad_request = |code: &'static str| ApiError::new(StatusCode::BAD_REQUEST, code, message.clone());
    match error {
        // Whoever asks turns to another server.
        AnswerError::UnknownRoom(_) | AnswerError::UnknownEvent | AnswerError::NotWhole => {
            ApiError::not_found(message)
        }
        AnswerError::NotInRoom | AnswerError::ShutOut | AnswerError::Forbidden(_) => {
            ApiError::forbidden(message)
        }
        AnswerError::IncompatibleVersion(version) => {
            bad_request("M_INCOMPATIBLE_ROOM_VERSION").with("room_version", version.as_str())
        }
        AnswerError::Invalid(_) => ApiError::invalid_param(message),
        AnswerError::Malformed(_) => ApiError::bad_json(message),
        AnswerError::InvitesBlocked(_) => ApiError::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", message),
        AnswerError::CannotAuthorise => bad_request("M_UNABLE_TO_AUTHORISE_JOIN"),
        AnswerError::CannotGrant => bad_request("M_UNABLE_TO_GRANT_JOIN"),
        AnswerError::Write(WriteError::Forbidden(why)) => ApiError::forbidden(why),
        AnswerError::Write(error @ WriteError::Policy(RemoteError::Refused { .. })) => {
            ApiError::forbidden(error.to_string())
        }
        AnswerError::Write(WriteError::Busy) => ApiError::limit_exceeded(Duration::from_secs(1)),
        AnswerError::Write(error @ (WriteError::Build(_) | WriteError::Content(_))) => {
            ApiError::bad_json(error.to_string())
        }
        AnswerError::Write(error) => ApiError::internal(error),
        AnswerError::Storage(error) => ApiError::internal(error),
    }
}
