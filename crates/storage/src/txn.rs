//! Reading and writing as two types: a function that takes a [`Txn`] says "I write".

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use sqlx::{PgConnection, Postgres, Transaction, pool::PoolConnection};

use crate::{
    Store,
    error::Result,
    log::{LogEntry, LogKind},
};

/// A connection that only reads. Its methods stand in one file per family of tables.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    store: Store,
}

#[derive(Debug)]
enum Connection {
    Pooled(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

impl Reader {
    pub(crate) fn pooled(connection: PoolConnection<Postgres>, store: Store) -> Self {
        Self { connection: Connection::Pooled(connection), store }
    }

    pub(crate) fn in_transaction(transaction: Transaction<'static, Postgres>, store: Store) -> Self {
        Self { connection: Connection::Transaction(transaction), store }
    }

    /// The connection, for the queries of this crate.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        match &mut self.connection {
            Connection::Pooled(connection) => connection,
            Connection::Transaction(transaction) => transaction,
        }
    }

    /// The store this reader came from, for its caches.
    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// The highest position that is committed.
    pub async fn find_log_head(&mut self) -> Result<Position> {
        let position = sqlx::query_scalar!("SELECT position FROM log_head").fetch_one(self.conn()).await?;
        Ok(Position(position))
    }
}

/// A write transaction; everything a [`Reader`] can do, and writing.
///
/// Functions that take positions hold the log's lock until commit: call them last.
#[derive(Debug)]
pub struct Txn {
    reader: Reader,
    entries: Vec<LogEntry>,
}

impl Deref for Txn {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Txn {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Txn {
    pub(crate) fn new(transaction: Transaction<'static, Postgres>, store: Store) -> Self {
        Self {
            reader: Reader { connection: Connection::Transaction(transaction), store },
            entries: Vec::new(),
        }
    }

    /// For one statement that commits by itself.
    pub(crate) fn single(connection: PoolConnection<Postgres>, store: Store) -> Self {
        Self { reader: Reader::pooled(connection, store), entries: Vec::new() }
    }

    /// Takes `count` positions and returns the first. From here to the commit nobody else can write to the log.
    pub(crate) async fn take_positions(&mut self, count: usize) -> Result<Position> {
        let last = sqlx::query_scalar!(
            "UPDATE log_head SET position = position + $1 RETURNING position",
            count as i64
        )
        .fetch_one(self.conn())
        .await?;
        Ok(Position(last - count as i64 + 1))
    }

    /// Notes what happened at a position taken before.
    pub(crate) fn note(&mut self, entry: LogEntry) {
        self.entries.push(entry);
    }

    /// Takes one position for a change that concerns a user, a room, or both.
    pub async fn log(
        &mut self,
        kind: LogKind,
        room: Option<RoomNid>,
        user: Option<UserNid>,
    ) -> Result<Position> {
        self.log_about(kind, room, user, None).await
    }

    /// As [`log`](Self::log), with a subject.
    pub async fn log_about(
        &mut self,
        kind: LogKind,
        room: Option<RoomNid>,
        user: Option<UserNid>,
        subject: Option<i64>,
    ) -> Result<Position> {
        let position = self.take_positions(1).await?;
        self.note(LogEntry {
            position,
            kind,
            room,
            user,
            subject,
            event: None,
            change: None,
            is_local: true,
        });
        Ok(position)
    }

    /// Takes a position for each of the changes, which concern a user and perhaps a subject; returns the first.
    pub(crate) async fn log_all(
        &mut self,
        kind: LogKind,
        subjects: &[(UserNid, Option<i64>)],
    ) -> Result<Position> {
        let first = self.take_positions(subjects.len()).await?;
        for (offset, (user, subject)) in subjects.iter().enumerate() {
            self.note(LogEntry {
                position: Position(first.0 + offset as i64),
                kind,
                room: None,
                user: Some(*user),
                subject: *subject,
                event: None,
                change: None,
                is_local: true,
            });
        }
        Ok(first)
    }

    /// Commits, and returns when the change is on disk and this process's caches know of it.
    pub async fn commit(mut self) -> Result<()> {
        self.write_log().await?;
        self.commit_noted().await
    }

    /// Commits when the noted entries are written already.
    pub(crate) async fn commit_noted(self) -> Result<()> {
        match self.reader.connection {
            Connection::Transaction(transaction) => transaction.commit().await?,
            Connection::Pooled(connection) => drop(connection),
        }
        if let Some(last) = self.entries.last().map(|entry| entry.position) {
            let tail = self.reader.store.tail();
            tail.submit(self.entries);
            tail.wait_applied(last).await;
        }
        Ok(())
    }

    /// Gives the transaction up.
    pub async fn rollback(self) -> Result<()> {
        if let Connection::Transaction(transaction) = self.reader.connection {
            transaction.rollback().await?;
        }
        Ok(())
    }

    async fn write_log(&mut self) -> Result<()> {
        let Some(last) = self.entries.last().map(|entry| entry.position) else { return Ok(()) };
        let positions: Vec<i64> = self.entries.iter().map(|e| e.position.0).collect();
        let kinds: Vec<i16> = self.entries.iter().map(|e| e.kind.code()).collect();
        let rooms: Vec<Option<i64>> = self.entries.iter().map(|e| e.room.map(i64::from)).collect();
        let users: Vec<Option<i64>> = self.entries.iter().map(|e| e.user.map(i64::from)).collect();
        let subjects: Vec<Option<i64>> = self.entries.iter().map(|e| e.subject).collect();
        sqlx::query!(
            "WITH news AS (SELECT pg_notify('kith_log', $6::bigint || ' ' || current_setting('application_name')))
             INSERT INTO log (position, kind, room_nid, user_nid, subject)
             SELECT entry.* FROM UNNEST($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[])
                 AS entry (position, kind, room_nid, user_nid, subject), news",
            &positions,
            &kinds,
            &rooms as &[Option<i64>],
            &users as &[Option<i64>],
            &subjects as &[Option<i64>],
            last.0,
        )
        .execute(self.conn())
        .await?;
        self.write_device_list_changes().await
    }

    /// Whoever notes a change of devices cannot forget the row that outlives the entry.
    async fn write_device_list_changes(&mut self) -> Result<()> {
        let changes: BTreeMap<UserNid, Position> = self
            .entries
            .iter()
            .filter(|entry| entry.kind == LogKind::DeviceList)
            .filter_map(|entry| Some((entry.user?, entry.position)))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.upsert_device_list_changes(&changes).await
    }
}
