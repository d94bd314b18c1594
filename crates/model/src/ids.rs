//! Numeric ids ("Nids"): the database's short names for strings that Matrix repeats everywhere.
//!
//! A Nid never leaves the process group: clients and other servers only ever see the string it stands for.

use serde::{Deserialize, Serialize};

macro_rules! nid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl From<i64> for $name {
            fn from(value: i64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for i64 {
            fn from(nid: $name) -> Self {
                nid.0
            }
        }
    };
}

nid!(
    /// An event (persistent data unit).
    EventNid
);
nid!(
    /// A room.
    RoomNid
);
nid!(
    /// A user, local or remote.
    UserNid
);
nid!(
    /// A device of a local user.
    DeviceNid
);
nid!(
    /// A state slot: one pair of event type and state key, which one state event of a room fills at a time.
    SlotNid
);
nid!(
    /// An event type.
    TypeNid
);
nid!(
    /// A state group: an interned, immutable set of state.
    StateGroupNid
);
