//! Reading rooms: who sees what, page after page, with what is related to it.

mod members;
mod pages;
mod relations;
mod scene;
mod visibility;
