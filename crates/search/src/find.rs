//! Asking the index.

use hs_model::ids::{RoomNid, UserNid};
use hs_storage::{
    StorageError,
    search::{FoundEvent, FoundPlace, SearchField, SearchQuery},
    user_directory::{FoundUser, UserQuery},
};

use crate::{
    Query, Search,
    words::{fold, name_query},
};

/// Which messages are wanted.
#[derive(Clone, Debug)]
pub struct MessageQuery<'a> {
    /// With these words.
    pub words: &'a Query,
    /// In these rooms.
    pub rooms: &'a [RoomNid],
    /// In these texts.
    pub fields: &'a [SearchField],
    /// Sent by one of these; `None` for everybody.
    pub senders: Option<&'a [UserNid]>,
    /// Sent by none of these.
    pub not_senders: &'a [UserNid],
    /// Best first, instead of newest first.
    pub by_rank: bool,
    /// What comes after this.
    pub after: Option<FoundPlace>,
    /// At most this many.
    pub limit: usize,
}

/// Messages that were found: candidates, of which the caller shows those that the user may see.
#[derive(Clone, Debug, Default)]
pub struct FoundMessages {
    /// In the order asked for.
    pub events: Vec<FoundEvent>,
    /// About how many there are.
    pub total: i64,
}

/// Whom a search for people may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those who share a room with the asker, or are in a room that anybody may join or read.
    Neighbours,
    /// Everybody.
    Everybody,
}

/// Who is looked for.
#[derive(Clone, Copy, Debug)]
pub struct PersonQuery<'a> {
    /// What to look for.
    pub term: &'a str,
    /// Who asks.
    pub asker: UserNid,
    /// Who may be found.
    pub reach: Reach,
    /// At most this many.
    pub limit: usize,
}

/// People who were found.
#[derive(Clone, Debug, Default)]
pub struct FoundUsers {
    /// Best first.
    pub users: Vec<FoundUser>,
    /// Whether there are more.
    pub is_limited: bool,
}

impl Search {
    /// Looks for messages.
    pub async fn find_messages(&self, query: &MessageQuery<'_>) -> Result<FoundMessages, StorageError> {
        if query.rooms.is_empty() || query.fields.is_empty() {
            return Ok(FoundMessages::default());
        }
        let search = SearchQuery {
            matching: &query.words.matching,
            exact: &query.words.exact,
            rooms: query.rooms,
            fields: query.fields,
            senders: query.senders,
            not_senders: query.not_senders,
            by_rank: query.by_rank,
            after: query.after,
            limit: query.limit as i64,
        };
        let (events, total) = self.store.reader().await?.search_events(&search).await?;
        Ok(FoundMessages { events, total })
    }

    /// Looks for people whose names or ids begin with what is searched for, or have words that do.
    pub async fn find_users(&self, query: PersonQuery<'_>) -> Result<FoundUsers, StorageError> {
        // An id is as good as its parts.
        let Some(matching) = name_query(query.term) else { return Ok(FoundUsers::default()) };
        let key = fold(query.term.trim().trim_start_matches('@'));
        let key = key.split(':').next().unwrap_or_default();
        let search = UserQuery {
            matching: &matching,
            key,
            asker: query.asker,
            everybody: query.reach == Reach::Everybody,
            limit: query.limit as i64 + 1,
        };
        let mut users = self.store.reader().await?.search_users(search).await?;
        let is_limited = users.len() > query.limit;
        users.truncate(query.limit);
        Ok(FoundUsers { users, is_limited })
    }
}
