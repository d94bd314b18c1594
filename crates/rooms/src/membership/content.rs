//! What a member event says.

use hs_model::membership::Membership;
use ruma::UserId;
use serde::Serialize;

use crate::{Intent, ports::Profile};

/// The content of a member event.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemberContent<'a> {
    pub(crate) membership: Membership,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) displayname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) avatar_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_direct: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) join_authorised_via_users_server: Option<&'a UserId>,
}

impl<'a> MemberContent<'a> {
    pub(crate) fn new(membership: Membership, reason: Option<&'a str>) -> Self {
        Self {
            membership,
            displayname: None,
            avatar_url: None,
            reason,
            is_direct: false,
            join_authorised_via_users_server: None,
        }
    }

    pub(crate) fn with_profile(mut self, profile: Profile) -> Self {
        self.displayname = profile.displayname;
        self.avatar_url = profile.avatar_url;
        self
    }

    /// The event for a user.
    pub(crate) fn into_intent(self, user_id: &UserId) -> Intent {
        let content = serde_json::to_string(&self).expect("strings and booleans serialise");
        Intent::state("m.room.member", user_id.as_str(), content)
    }
}
