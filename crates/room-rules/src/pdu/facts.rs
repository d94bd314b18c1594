//! What the rules read from the content of state events, parsed once and kept with the event.

use std::sync::OnceLock;

use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use serde::Deserialize;

use super::Pdu;
use crate::{power_levels::PowerLevelsContent, room_version::RoomVersionRules};

/// The parsed content of an event whose type the rules know. The text says what is wrong with a malformed one.
#[derive(Clone, Debug)]
pub(super) enum Facts {
    Create(Result<CreateFacts, String>),
    Member(Result<MembershipState, String>),
    PowerLevels(Result<PowerLevelsContent, String>),
    None,
}

/// What the rules want to know of a create event.
#[derive(Clone, Debug)]
pub struct CreateFacts {
    /// Whether users of other servers may take part.
    pub is_federated: bool,
    /// The creator, and from version 12 on the additional creators, without repetition.
    pub creators: Vec<OwnedUserId>,
}

/// A cell that does not take part in cloning, so that a clone with another verdict stays cheap and correct.
#[derive(Debug, Default)]
pub(super) struct FactsCell(OnceLock<Box<Facts>>);

impl Clone for FactsCell {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Pdu {
    fn facts(&self) -> &Facts {
        self.facts.0.get_or_init(|| {
            Box::new(match self.type_str() {
                "m.room.create" => Facts::Create(CreateFacts::read(self)),
                "m.room.member" => Facts::Member(read_membership(self)),
                "m.room.power_levels" => {
                    Facts::PowerLevels(PowerLevelsContent::parse(self.content_str(), self.rules()))
                }
                _ => Facts::None,
            })
        })
    }

    /// What the rules want to know of a create event; an error for any other event, or if it is malformed.
    pub fn create_facts(&self) -> Result<&CreateFacts, &str> {
        match self.facts() {
            Facts::Create(facts) => facts.as_ref().map_err(String::as_str),
            _ => Err("not an `m.room.create` event"),
        }
    }

    /// The membership that a member event sets; an error for any other event, or if it is malformed.
    pub fn membership(&self) -> Result<&MembershipState, &str> {
        match self.facts() {
            Facts::Member(membership) => membership.as_ref().map_err(String::as_str),
            _ => Err("not an `m.room.member` event"),
        }
    }

    /// The content of a power levels event; an error for any other event, or if it is malformed.
    pub fn power_levels(&self) -> Result<&PowerLevelsContent, &str> {
        match self.facts() {
            Facts::PowerLevels(content) => content.as_ref().map_err(String::as_str),
            _ => Err("not an `m.room.power_levels` event"),
        }
    }
}

impl CreateFacts {
    fn read(pdu: &Pdu) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.federate")]
            federate: Option<bool>,
        }
        let content: Content = pdu
            .content_as()
            .map_err(|error| format!("`m.federate` of the `m.room.create` event is malformed: {error}"))?;
        Ok(Self {
            is_federated: content.federate.unwrap_or(true),
            creators: read_creators(pdu, pdu.rules())?,
        })
    }

    /// Whether the user is one of the creators.
    pub fn is_creator(&self, user_id: &UserId) -> bool {
        self.creators.iter().any(|creator| creator == user_id)
    }
}

fn read_creators(pdu: &Pdu, rules: &RoomVersionRules) -> Result<Vec<OwnedUserId>, String> {
    #[derive(Deserialize)]
    struct Creator {
        creator: OwnedUserId,
    }
    #[derive(Deserialize)]
    struct AdditionalCreators {
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    let mut creators = vec![if rules.authorization.use_room_create_sender {
        pdu.sender().to_owned()
    } else {
        let content: Creator = pdu
            .content_as()
            .map_err(|error| format!("`creator` of the `m.room.create` event is malformed: {error}"))?;
        content.creator
    }];
    if rules.authorization.additional_room_creators {
        let content: AdditionalCreators = pdu.content_as().map_err(|error| {
            format!("`additional_creators` of the `m.room.create` event is malformed: {error}")
        })?;
        for creator in content.additional_creators {
            if !creators.contains(&creator) {
                creators.push(creator);
            }
        }
    }
    Ok(creators)
}

fn read_membership(pdu: &Pdu) -> Result<MembershipState, String> {
    #[derive(Deserialize)]
    struct Content {
        membership: MembershipState,
    }
    let content: Content = pdu
        .content_as()
        .map_err(|error| format!("`membership` of the `m.room.member` event is malformed: {error}"))?;
    Ok(content.membership)
}
