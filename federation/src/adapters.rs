//! What the crates below need of other servers.

mod directory;
pub mod finding;
mod media;
mod profiles;
mod public_rooms;
mod remote_keys;
pub mod rooms;

pub use directory::FederatedDirectory;
pub use media::FederatedMedia;
pub use profiles::{RemoteProfile, RemoteProfileError, RemoteProfiles};
pub use public_rooms::{PublicRoomsError, RemotePublicRooms};
pub use remote_keys::FederatedKeys;
