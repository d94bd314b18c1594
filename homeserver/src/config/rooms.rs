//! `[rooms]`

use ruma::RoomVersionId;

use super::{Invalid, section::section};

/// The room versions that Kith can create.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=12;

section! {
    /// Defaults for new rooms.
    pub struct Rooms {
        /// The version of rooms whose creator does not ask for another: "1" to "12".
        pub default_version: RoomVersionId = RoomVersionId::V12,
    }
}

impl Rooms {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.default_version.as_str().parse::<u32>().is_ok_and(|version| VERSIONS.contains(&version)) {
            return Ok(());
        }
        Err(Invalid::new(
            "default_version",
            format!("there is no room version `{}` here", self.default_version),
            "write one of \"1\" to \"12\"",
        ))
    }
}
