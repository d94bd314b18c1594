//! All conformance cases, in one program. A family is a module; see `README.md` for how a case is written.

mod accounts;
mod calls;
mod chaos;
mod crash;
mod discovery;
mod e2ee;
mod federation;
mod federation_synapse;
mod hostile;
mod media;
mod moderation;
mod operation;
mod push;
mod replicas;
mod rooms;
mod sliding_sync;
mod sync;
mod thumbnails;
mod url_previews;
