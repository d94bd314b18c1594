//! How user-interactive authentication looks to a client.

use hs_accounts::{AuthError, Challenge, StageFailure};
use hs_http::ApiError;
use http::StatusCode;
use serde_json::{Map, Value, json};

pub(super) fn api_error(error: AuthError) -> ApiError {
    match error {
        AuthError::Challenge(challenge) => {
            ApiError::from_body(StatusCode::UNAUTHORIZED, challenge_body(*challenge))
        }
        AuthError::Malformed(message) => ApiError::bad_json(message),
        error @ AuthError::WrongSession => ApiError::forbidden(error.to_string()),
        AuthError::LimitExceeded(retry_after) => ApiError::limit_exceeded(retry_after),
        AuthError::Failure(failure) => ApiError::internal(failure),
    }
}

fn challenge_body(challenge: Challenge) -> Map<String, Value> {
    let Challenge { session, flows, completed, params, failure } = challenge;
    let flows = flows.into_iter().map(|stages| json!({ "stages": stages })).collect();
    let mut body = Map::from_iter([
        ("session".to_owned(), session.into()),
        ("flows".to_owned(), Value::Array(flows)),
        ("params".to_owned(), Value::Object(params)),
    ]);
    if !completed.is_empty() {
        body.insert("completed".to_owned(), completed.into());
    }
    if let Some(failure) = failure {
        body.insert("errcode".to_owned(), errcode(failure).into());
        body.insert("error".to_owned(), failure.to_string().into());
    }
    body
}

fn errcode(failure: StageFailure) -> &'static str {
    match failure {
        StageFailure::WrongPassword => "M_FORBIDDEN",
        StageFailure::InvalidRegistrationToken => "M_UNAUTHORIZED",
        StageFailure::UnknownStage => "M_UNRECOGNIZED",
        StageFailure::UnknownSession => "M_UNKNOWN",
    }
}
