//! Finding people, rooms and words, and keeping away from those one does not want to hear of.

mod ignoring;
mod people;
mod room_summary;
mod search;
mod search_index;
mod spaces;
