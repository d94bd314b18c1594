//! `/_matrix/client/v3/pushrules/…`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#push-rules-api>

use axum::{Router, extract::State, routing::get};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, QueryArgs, RouteOptions, RouterExt};
use hs_push::{EditRulesError, NewRule, Place, Push, RuleChangeError, RuleKind};
use ruma::{api::client::push as spec, push::Action};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ClientState, auth::Session};

/// All routes of push rules.
pub(super) fn routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .route_like::<spec::get_pushrules_all::v3::Request, _, _>(options, list)
        .route("/_matrix/client/v3/pushrules", get(list))
        .route_like::<spec::get_pushrules_global_scope::v3::Request, _, _>(options, list_global)
        .route("/_matrix/client/v3/pushrules/global", get(list_global))
        .route_like::<spec::get_pushrule::v3::Request, _, _>(options, find)
        .route_like::<spec::set_pushrule::v3::Request, _, _>(options, put)
        .route_like::<spec::delete_pushrule::v3::Request, _, _>(options, delete)
        .route_like::<spec::get_pushrule_actions::v3::Request, _, _>(options, get_actions)
        .route_like::<spec::set_pushrule_actions::v3::Request, _, _>(options, put_actions)
        .route_like::<spec::get_pushrule_enabled::v3::Request, _, _>(options, get_enabled)
        .route_like::<spec::set_pushrule_enabled::v3::Request, _, _>(options, put_enabled)
}

#[derive(Debug, Deserialize)]
struct Actions {
    actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
struct Enabled {
    enabled: bool,
}

/// `GET /_matrix/client/v3/pushrules/`
async fn list(session: Session, State(push): State<Push>) -> Result<JsonReply<Value>, ApiError> {
    let rules = push.list_rules(session.user, &session.user_id).await.map_err(ApiError::internal)?;
    Ok(JsonReply(json!({ "global": rules })))
}

/// `GET /_matrix/client/v3/pushrules/global/`
async fn list_global(session: Session, State(push): State<Push>) -> Result<JsonReply<Value>, ApiError> {
    let rules = push.list_rules(session.user, &session.user_id).await.map_err(ApiError::internal)?;
    Ok(JsonReply(Value::Object(rules)))
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn find(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    Ok(JsonReply(find_rule(&session, &push, &kind, &rule_id).await?))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn put(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
    QueryArgs(place): QueryArgs<Place>,
    JsonBody(rule): JsonBody<NewRule>,
) -> Result<JsonReply<Value>, ApiError> {
    let kind =
        RuleKind::parse(&kind).ok_or_else(|| ApiError::invalid_param("There is no such kind of rules"))?;
    push.put_rule(session.user, &session.user_id, (kind, &rule_id), rule, &place).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

/// `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn delete(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    let kind = RuleKind::parse(&kind).ok_or_else(not_found)?;
    push.delete_rule(session.user, &session.user_id, kind, &rule_id).await.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`
async fn get_actions(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    let mut rule = find_rule(&session, &push, &kind, &rule_id).await?;
    Ok(JsonReply(json!({ "actions": rule["actions"].take() })))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`
async fn put_actions(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
    JsonBody(body): JsonBody<Actions>,
) -> Result<JsonReply<Value>, ApiError> {
    let kind = RuleKind::parse(&kind).ok_or_else(not_found)?;
    push.set_rule_actions(session.user, &session.user_id, (kind, &rule_id), body.actions)
        .await
        .map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
async fn get_enabled(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    let rule = find_rule(&session, &push, &kind, &rule_id).await?;
    Ok(JsonReply(json!({ "enabled": rule["enabled"] })))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
async fn put_enabled(
    session: Session,
    State(push): State<Push>,
    PathArgs((kind, rule_id)): PathArgs<(String, String)>,
    JsonBody(body): JsonBody<Enabled>,
) -> Result<JsonReply<Value>, ApiError> {
    let kind = RuleKind::parse(&kind).ok_or_else(not_found)?;
    push.set_rule_enabled(session.user, &session.user_id, (kind, &rule_id), body.enabled)
        .await
        .map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

async fn find_rule(session: &Session, push: &Push, kind: &str, rule_id: &str) -> Result<Value, ApiError> {
    let kind = RuleKind::parse(kind).ok_or_else(not_found)?;
    let rule = push.find_rule(session.user, &session.user_id, kind, rule_id).await;
    rule.map_err(ApiError::internal)?.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::not_found("There is no such push rule")
}

pub(super) fn api_error(error: EditRulesError) -> ApiError {
    let message = error.to_string();
    match error {
        EditRulesError::Refused(refused) => match refused {
            RuleChangeError::NotFound => ApiError::not_found(message),
            RuleChangeError::UnknownNeighbour | RuleChangeError::CrossedNeighbours => {
                ApiError::new(http::StatusCode::BAD_REQUEST, "M_UNKNOWN", message)
            }
            RuleChangeError::InvalidId(_) | RuleChangeError::ClosedKind | RuleChangeError::Predefined => {
                ApiError::invalid_param(message)
            }
            RuleChangeError::MissingPattern => ApiError::missing_param(message),
        },
        EditRulesError::TooLarge => ApiError::too_large(message),
        EditRulesError::Storage(error) => ApiError::internal(error),
    }
}
