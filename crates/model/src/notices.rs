//! Whom an event notifies, and how.

use ruma::OwnedEventId;

use crate::ids::UserNid;

/// How much attention an event asks for: a set of the constants below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attention(i16);

impl Attention {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// It counts as unread, and is pushed.
    pub const NOTIFY: Self = Self(1);
    /// It is to stand out.
    pub const HIGHLIGHT: Self = Self(2);
    /// It makes the default sound.
    pub const SOUND: Self = Self(4);
    /// It rings.
    pub const RING: Self = Self(8);

    const ALL: i16 = 15;

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it notifies.
    pub fn notifies(self) -> bool {
        self.has(Self::NOTIFY)
    }

    /// Whether it notifies and stands out.
    pub fn highlights(self) -> bool {
        self.has(Self::NOTIFY.with(Self::HIGHLIGHT))
    }

    /// The number stored in the database.
    pub fn code(self) -> i16 {
        self.0
    }

    /// The inverse of [`code`](Self::code); other bits are left out.
    pub fn from_code(code: i16) -> Self {
        Self(code & Self::ALL)
    }
}

/// What an event means to one user, where that differs from what it means to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndividualNotice {
    /// The user.
    pub user: UserNid,
    /// How much attention it asks for.
    pub attention: Attention,
    /// JSON object: the tweaks of the rule, where `attention` cannot say them.
    pub tweaks: Option<Box<str>>,
}

/// Whom an event notifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// What it means to everybody who is not named in `individuals`, except for its sender.
    pub everyone: Attention,
    /// Whether its sender has read what came before it.
    pub marks_read: bool,
    /// The thread it belongs to; `None` for the main timeline.
    pub thread_root: Option<OwnedEventId>,
    /// Those to whom it means something else; `None` when they must be read from the database.
    pub individuals: Option<Vec<IndividualNotice>>,
}

impl Notice {
    const MARKS_READ: i16 = 16;
    const HAS_INDIVIDUALS: i16 = 32;

    /// Whether it is nothing worth keeping.
    pub fn is_empty(&self) -> bool {
        self.code() == 0
    }

    /// The number stored in the database.
    pub fn code(&self) -> i16 {
        let mut code = self.everyone.code();
        if self.marks_read {
            code |= Self::MARKS_READ;
        }
        if self.individuals.as_ref().is_none_or(|individuals| !individuals.is_empty()) {
            code |= Self::HAS_INDIVIDUALS;
        }
        code
    }

    /// What the database holds beside an event.
    pub fn from_code(code: i16, thread_root: Option<OwnedEventId>) -> Self {
        Self {
            everyone: Attention::from_code(code),
            marks_read: code & Self::MARKS_READ != 0,
            thread_root,
            individuals: (code & Self::HAS_INDIVIDUALS == 0).then(Vec::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_survive_a_round_trip() {
        let individual = IndividualNotice { user: UserNid(1), attention: Attention::NOTIFY, tweaks: None };
        for individuals in [vec![], vec![individual]] {
            let notice = Notice {
                everyone: Attention::NOTIFY.with(Attention::SOUND),
                marks_read: true,
                thread_root: None,
                individuals: Some(individuals.clone()),
            };
            let read = Notice::from_code(notice.code(), None);
            assert_eq!((read.everyone, read.marks_read), (notice.everyone, true));
            assert_eq!(read.individuals.is_some(), individuals.is_empty());
        }
        assert!(Notice { individuals: Some(Vec::new()), ..Notice::default() }.is_empty());
    }
}
