//! The stages we know.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Accounts;

/// One thing to prove or to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The password of the user.
    Password,
    /// Nothing.
    Dummy,
    /// The policies of this server are accepted.
    Terms,
    /// A token that an administrator handed out.
    RegistrationToken,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Password => "m.login.password",
            Self::Dummy => "m.login.dummy",
            Self::Terms => "m.login.terms",
            Self::RegistrationToken => "m.login.registration_token",
        }
    }
}

impl Accounts {
    /// What clients need to know for the stages of these flows.
    pub(crate) fn stage_params(&self, flows: &[Vec<Stage>]) -> Map<String, Value> {
        let mut params = Map::new();
        if flows.iter().flatten().any(|stage| *stage == Stage::Terms) {
            params.insert(Stage::Terms.name().to_owned(), json!({ "policies": self.policies() }));
        }
        params
    }

    /// The policies as clients show them.
    fn policies(&self) -> Value {
        let mut policies: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for policy in &self.options.registration.terms {
            let document = policies.entry(&policy.id).or_default();
            document.insert("version".to_owned(), policy.version.as_str().into());
            document.insert(policy.language.clone(), json!({ "name": policy.name, "url": policy.url }));
        }
        json!(policies)
    }

    /// The version of each policy.
    pub(crate) fn accepted_terms(&self) -> Value {
        let terms = &self.options.registration.terms;
        terms.iter().map(|policy| (policy.id.clone(), Value::from(policy.version.as_str()))).collect()
    }
}
