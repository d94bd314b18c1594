//! The scenarios. Each prepares what it needs, measures, and adds its rows to the world.

use anyhow::Result;

use crate::{server::HashCost, world::World};

mod accounts;
mod fanout;
mod federation;
mod growth;
mod history;
mod keys;
mod media;
mod memory;
mod mixed;
mod push;
mod rooms;
mod search;
mod send;
mod sliding;
mod sync;
mod to_device;

/// What can be asked for with `--scenario`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Accounts made, with the password hash cost as shipped.
    Register,
    /// Memory when idle, alone and with many long polls; also how long a start takes.
    Memory,
    /// Rooms created.
    Rooms,
    /// Messages sent: one after the other, into many rooms, into one busy room.
    Send,
    /// Messages delivered to long polls.
    Fanout,
    /// First syncs of users in 20 and in 200 rooms, after a restart and warm.
    InitialSync,
    /// Sliding sync of a user in many rooms: the first response, and what follows.
    Sliding,
    /// Keys of devices uploaded, claimed and asked for.
    Keys,
    /// Messages to many devices, and their delivery.
    ToDevice,
    /// Messages searched.
    Search,
    /// A room's history read backwards.
    Pagination,
    /// Many users joining one room.
    Join,
    /// Messages sent in rooms of growing size.
    SendSizes,
    /// Messages in the biggest room, where members have push rules of their own.
    Push,
    /// Database growth per state change in the biggest room.
    Growth,
    /// Files uploaded and downloaded, thumbnails made.
    Media,
    /// A mixture of what clients do.
    Mixed,
    /// Messages from one server to another, and catching up after an outage; with two servers of their own.
    Federation,
}

/// Scenarios that share a server, in the order in which they run on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) cost: HashCost,
    pub(crate) scenarios: &'static [Scenario],
}

/// Hash cost, memory and media are measured on servers of their own. Joins come before what needs the big room.
pub(crate) const GROUPS: [Group; 5] = [
    Group { cost: HashCost::Shipped, scenarios: &[Scenario::Register] },
    Group { cost: HashCost::Cheap, scenarios: &[Scenario::Memory] },
    Group { cost: HashCost::Cheap, scenarios: &[Scenario::Federation] },
    Group { cost: HashCost::Cheap, scenarios: &[Scenario::Media] },
    Group {
        cost: HashCost::Cheap,
        scenarios: &[
            Scenario::Rooms,
            Scenario::Send,
            Scenario::Fanout,
            Scenario::InitialSync,
            Scenario::Sliding,
            Scenario::Keys,
            Scenario::ToDevice,
            Scenario::Search,
            Scenario::Pagination,
            Scenario::Mixed,
            Scenario::Join,
            Scenario::SendSizes,
            Scenario::Push,
            Scenario::Growth,
        ],
    },
];

impl Scenario {
    pub(crate) async fn run(self, world: &mut World) -> Result<()> {
        match self {
            Self::Register => accounts::register(world).await,
            Self::Memory => memory::run(world).await,
            Self::Rooms => rooms::create(world).await,
            Self::Send => send::run(world).await,
            Self::Fanout => fanout::run(world).await,
            Self::InitialSync => sync::initial(world).await,
            Self::Sliding => sliding::run(world).await,
            Self::Keys => keys::run(world).await,
            Self::ToDevice => to_device::run(world).await,
            Self::Search => search::run(world).await,
            Self::Pagination => history::paginate(world).await,
            Self::Join => rooms::join(world).await,
            Self::SendSizes => send::sizes(world).await,
            Self::Push => push::run(world).await,
            Self::Growth => growth::run(world).await,
            Self::Media => media::run(world).await,
            Self::Mixed => mixed::run(world).await,
            Self::Federation => federation::run(world).await,
        }
    }
}
