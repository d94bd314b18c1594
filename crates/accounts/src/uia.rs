//! User-interactive authentication: proving who one is, in stages, before something delicate is done.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

mod body;
mod stage;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hs_model::ids::UserNid;
use hs_storage::{StorageError, Txn, uia::UiaSessionRow};
use ruma::OwnedUserId;
use serde_json::{Map, Value};

pub use self::body::UiaBody;
pub(crate) use self::{body::Auth, stage::Stage};
use crate::{
    Accounts, Failure, LoginError, Session, error::fails_with_storage, secret, throttle::Throttled, username,
};

/// How long a user may take over all stages.
const SESSION_LIFETIME_MS: i64 = 60 * 60 * 1000;

/// What is to be authorised.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    name: String,
    user: Option<(UserNid, OwnedUserId)>,
}

impl Operation {
    /// Something that nobody in particular does.
    pub(crate) fn anonymous(name: &str) -> Self {
        Self { name: name.to_owned(), user: None }
    }

    /// Something that a logged-in user does.
    pub(crate) fn of(session: &Session, name: &str) -> Self {
        Self { name: name.to_owned(), user: Some((session.user, session.user_id.clone())) }
    }

    /// The same, to these targets and no others.
    pub(crate) fn on(mut self, targets: &[String]) -> Self {
        let hash = secret::hash(&Value::from(targets).to_string());
        self.name = format!("{}:{}", self.name, URL_SAFE_NO_PAD.encode(hash));
        self
    }

    fn owns(&self, session: &UiaSessionRow) -> bool {
        session.operation == self.name && session.user == self.user.as_ref().map(|(user, _)| *user)
    }
}

/// What the client has to do next.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The session to go on with.
    pub session: String,
    /// The stages of each way to the goal.
    pub flows: Vec<Vec<&'static str>>,
    /// The stages done.
    pub completed: Vec<String>,
    /// What the client needs to know for some stages.
    pub params: Map<String, Value>,
    /// Why the last attempt did not succeed.
    pub failure: Option<StageFailure>,
}

/// Why an attempt on a stage did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageFailure {
    /// The password is not that of the user.
    #[error("Wrong user name or password")]
    WrongPassword,
    /// The registration token cannot be used.
    #[error("This registration token is not valid")]
    InvalidRegistrationToken,
    /// None of the flows has this stage.
    #[error("This stage is not part of any flow")]
    UnknownStage,
    /// The session has expired, or never was.
    #[error("This authentication session is unknown or has expired")]
    UnknownSession,
}

/// Why something is not authorised.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// More has to be proven.
    #[error("the user must prove who they are")]
    Challenge(Box<Challenge>),
    /// The `auth` object is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// The session was started for something else, or is used up.
    #[error("This authentication session was not started for this request")]
    WrongSession,
    /// Too many wrong passwords.
    #[error("Too many attempts")]
    LimitExceeded(Duration),
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(AuthError);

impl From<Throttled> for AuthError {
    fn from(throttled: Throttled) -> Self {
        Self::LimitExceeded(throttled.retry_after)
    }
}

/// All stages of a flow are done.
#[derive(Debug)]
pub(crate) struct Authorised {
    /// The request's parameters, with those that the client did not repeat.
    pub(crate) params: Map<String, Value>,
    completed: Map<String, Value>,
    session_id: Option<String>,
}

impl Authorised {
    /// Uses the session up, as part of what was authorised.
    pub(crate) async fn end(&self, txn: &mut Txn) -> Result<(), AuthError> {
        if let Some(session_id) = &self.session_id
            && !txn.delete_uia_session(session_id).await?
        {
            return Err(AuthError::WrongSession);
        }
        Ok(())
    }

    /// What a stage left behind.
    pub(crate) fn result(&self, stage: Stage) -> Option<&Value> {
        self.completed.get(stage.name())
    }
}

/// A session in progress.
struct Progress {
    row: UiaSessionRow,
    completed: Map<String, Value>,
    is_stored: bool,
}

impl Accounts {
    /// Has a logged-in user prove who they are by their password, for an operation of another crate (named for what it
    /// does). Returns the request's parameters.
    pub async fn authorise_by_password(
        &self,
        session: &Session,
        operation: &str,
        body: UiaBody,
    ) -> Result<Map<String, Value>, AuthError> {
        let authorised =
            self.authorise(&Operation::of(session, operation), &[vec![Stage::Password]], body).await?;
        let mut txn = self.store.begin().await?;
        authorised.end(&mut txn).await?;
        txn.commit().await?;
        Ok(authorised.params)
    }

    /// Goes one step on: returns when one of the flows is complete, and asks for more otherwise.
    pub(crate) async fn authorise(
        &self,
        operation: &Operation,
        flows: &[Vec<Stage>],
        body: UiaBody,
    ) -> Result<Authorised, AuthError> {
        let UiaBody { auth, params } = body;
        let Some(auth) = auth else {
            let progress = self.new_progress(operation, &params);
            return Err(self.challenge(progress, flows, None).await?);
        };
        let mut progress = match &auth.session {
            None => self.new_progress(operation, &params),
            Some(session_id) => match self.find_progress(session_id).await? {
                Some(progress) if operation.owns(&progress.row) => progress,
                Some(_) => return Err(AuthError::WrongSession),
                None => {
                    let progress = self.new_progress(operation, &params);
                    return Err(self.challenge(progress, flows, Some(StageFailure::UnknownSession)).await?);
                }
            },
        };
        if let Some(name) = &auth.stage
            && !progress.completed.contains_key(name)
        {
            let stage = flows.iter().flatten().copied().find(|stage| stage.name() == name);
            let Some(stage) = stage else {
                return Err(self.challenge(progress, flows, Some(StageFailure::UnknownStage)).await?);
            };
            match self.attempt(stage, operation, &auth).await? {
                Ok(result) => {
                    progress.completed.insert(name.clone(), result);
                }
                Err(failure) => return Err(self.challenge(progress, flows, Some(failure)).await?),
            }
        }
        if !is_complete(flows, &progress.completed) {
            return Err(self.challenge(progress, flows, None).await?);
        }
        Ok(progress.into_authorised(params))
    }

    fn new_progress(&self, operation: &Operation, params: &Map<String, Value>) -> Progress {
        let row = UiaSessionRow {
            session_id: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>()),
            operation: operation.name.clone(),
            user: operation.user.as_ref().map(|(user, _)| *user),
            request: body::without_secrets(params),
            completed: String::new(),
            expires_at: self.clock.now_ms() + SESSION_LIFETIME_MS,
        };
        Progress { row, completed: Map::new(), is_stored: false }
    }

    async fn find_progress(&self, session_id: &str) -> Result<Option<Progress>, StorageError> {
        let row = self.store.reader().await?.find_uia_session(session_id, self.clock.now_ms()).await?;
        let Some(row) = row else { return Ok(None) };
        let completed = parse_object(&row.completed, "completed", session_id)?;
        Ok(Some(Progress { row, completed, is_stored: true }))
    }

    /// Keeps the progress and says what is left to do.
    async fn challenge(
        &self,
        progress: Progress,
        flows: &[Vec<Stage>],
        failure: Option<StageFailure>,
    ) -> Result<AuthError, StorageError> {
        let Progress { mut row, completed, is_stored } = progress;
        row.completed = Value::Object(completed.clone()).to_string();
        let mut txn = self.store.begin().await?;
        if is_stored {
            txn.set_uia_completed(&row.session_id, &row.completed).await?;
        } else {
            txn.insert_uia_session(&row, self.clock.now_ms()).await?;
        }
        txn.commit().await?;
        Ok(AuthError::Challenge(Box::new(Challenge {
            session: row.session_id,
            flows: flows.iter().map(|flow| flow.iter().map(|stage| stage.name()).collect()).collect(),
            completed: completed.keys().cloned().collect(),
            params: self.stage_params(flows),
            failure,
        })))
    }

    /// One attempt on one stage. Returns what the stage leaves behind.
    async fn attempt(
        &self,
        stage: Stage,
        operation: &Operation,
        auth: &Auth,
    ) -> Result<Result<Value, StageFailure>, AuthError> {
        match stage {
            Stage::Dummy => Ok(Ok(Value::Bool(true))),
            Stage::Terms => Ok(Ok(self.accepted_terms())),
            Stage::RegistrationToken => {
                let token = auth.string("token")?;
                let is_valid = self.is_registration_token_valid(token).await?;
                Ok(if is_valid { Ok(token.into()) } else { Err(StageFailure::InvalidRegistrationToken) })
            }
            Stage::Password => self.attempt_password(operation, auth).await,
        }
    }

    async fn attempt_password(
        &self,
        operation: &Operation,
        auth: &Auth,
    ) -> Result<Result<Value, StageFailure>, AuthError> {
        let password = auth.string("password")?;
        let Some((user, user_id)) = &operation.user else { return Ok(Err(StageFailure::WrongPassword)) };
        // Old clients name nobody here; the access token says who it must be.
        if let Some(name) = auth.named_user()
            && username::named_user_id(name, self.server_name()).as_ref() != Some(user_id)
        {
            return Ok(Err(StageFailure::WrongPassword));
        }
        match self.check_password(*user, password).await {
            Ok(()) => Ok(Ok(Value::Bool(true))),
            Err(LoginError::LimitExceeded(retry_after)) => Err(AuthError::LimitExceeded(retry_after)),
            Err(LoginError::Failure(failure)) => Err(AuthError::Failure(failure)),
            Err(
                LoginError::Refused
                | LoginError::Deactivated
                | LoginError::Locked
                | LoginError::InvalidToken
                | LoginError::InvalidDevice(_),
            ) => Ok(Err(StageFailure::WrongPassword)),
        }
    }
}

impl Progress {
    fn into_authorised(self, mut params: Map<String, Value>) -> Authorised {
        if self.is_stored
            && let Ok(stored) = parse_object(&self.row.request, "request", &self.row.session_id)
        {
            for (key, value) in stored {
                params.entry(key).or_insert(value);
            }
        }
        Authorised {
            params,
            completed: self.completed,
            session_id: self.is_stored.then_some(self.row.session_id),
        }
    }
}

fn is_complete(flows: &[Vec<Stage>], completed: &Map<String, Value>) -> bool {
    flows.iter().any(|flow| flow.iter().all(|stage| completed.contains_key(stage.name())))
}

fn parse_object(text: &str, column: &'static str, row: &str) -> Result<Map<String, Value>, StorageError> {
    serde_json::from_str(text).map_err(|_| StorageError::Inconsistent {
        table: "uia_sessions",
        column,
        row: row.to_owned(),
    })
}
