//! Typing, receipts and presence as a server has them: over a database, with the log followed, on one replica and on two.

mod presence;
mod receipts;
mod replica;
mod typing;
