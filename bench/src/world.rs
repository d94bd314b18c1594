//! What a scenario works with: a running server, accounts on it, and a meter.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    client::Conn,
    load::{Limit, Load, closed_loop},
    measure::{Cpu, Memory, Pids, quiesce},
    report::Row,
    server::{Server, Setup},
    session::{Session, User, register},
    sizes::Sizes,
};

/// How many requests at once prepare a scenario.
const PREPARE_AT_ONCE: usize = 16;
/// Preparing may take long on a slow server, but must not hang.
const PREPARE_TIME: Duration = Duration::from_mins(20);

/// A server, the accounts made on it so far, and the rows measured.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) setup: Setup,
    pub(crate) sizes: Sizes,
    pub(crate) rows: Vec<Row>,
    /// Rooms by how many members they were made with, shared by the scenarios that need big ones.
    big_rooms: Vec<(usize, String)>,
    users: Vec<Rc<User>>,
    next_number: Cell<usize>,
}

impl World {
    pub(crate) fn new(server: Server, setup: Setup, sizes: Sizes) -> Self {
        Self {
            server,
            setup,
            sizes,
            rows: Vec::new(),
            big_rooms: Vec::new(),
            users: Vec::new(),
            next_number: Cell::new(0),
        }
    }

    /// Keeps a row for the result and tells of it at once.
    pub(crate) fn push(&mut self, row: Row) {
        crate::note(&row.summary());
        self.rows.push(row);
    }

    /// A number not given out before, for transaction ids and names.
    pub(crate) fn unique(&self) -> usize {
        self.next_number.replace(self.next_number.get() + 1)
    }

    /// A limit of so many operations, and of the time every measured window gets.
    pub(crate) fn limit(&self, count: usize) -> Limit {
        Limit { count, time: self.sizes.window }
    }

    /// Sessions of the first `count` users, who are registered when they do not exist yet.
    pub(crate) async fn sessions(&mut self, count: usize) -> Result<Vec<Session>> {
        let have = self.users.len();
        if have < count {
            let mut conns: Vec<_> = (0..PREPARE_AT_ONCE).map(|_| Conn::new(self.server.addr)).collect();
            let made = RefCell::new(Vec::new());
            let limit = Limit { count: count - have, time: PREPARE_TIME };
            let load = closed_loop(&mut conns, limit, async |conn, number| {
                let user = register(conn, &format!("user{:05}", have + number)).await?;
                made.borrow_mut().push(Rc::new(user));
                Ok(())
            })
            .await;
            complete(&load, limit)?;
            self.users.append(&mut made.into_inner());
        }
        Ok(self.users[..count].iter().map(|user| self.session(user)).collect())
    }

    /// Connections of accounts that are in no room yet.
    pub(crate) async fn new_sessions(&mut self, count: usize) -> Result<Vec<Session>> {
        let have = self.users.len();
        Ok(self.sessions(have + count).await?.split_off(have))
    }

    /// A further connection of an account.
    pub(crate) fn session(&self, user: &Rc<User>) -> Session {
        Session { conn: Conn::new(self.server.addr), user: Rc::clone(user), since: String::new() }
    }

    /// A room that the first session makes and all others join.
    pub(crate) async fn room_of(&self, members: &mut [Session]) -> Result<String> {
        let Some((owner, others)) = members.split_first_mut() else { anyhow::bail!("a room needs an owner") };
        let room = owner.create_public_room(&format!("room {}", self.unique())).await?;
        join_all(others, &room).await?;
        Ok(room)
    }

    /// A room of the first `size` users, made once per run.
    pub(crate) async fn big_room(&mut self, size: usize) -> Result<(String, Vec<Session>)> {
        let mut members = self.sessions(size).await?;
        if let Some((_, room)) = self.big_rooms.iter().find(|(members, _)| *members == size) {
            return Ok((room.clone(), members));
        }
        let room = self.room_of(&mut members).await?;
        self.big_rooms.push((size, room.clone()));
        Ok((room, members))
    }

    /// Notes a room that a scenario has already filled, so that others need not make it again.
    pub(crate) fn keep_big_room(&mut self, size: usize, room: String) {
        self.big_rooms.push((size, room));
    }

    /// Fills a room with so many messages of its members.
    pub(crate) async fn fill(&self, members: &mut [Session], room: &str, count: usize) -> Result<()> {
        let at_once = members.len().min(PREPARE_AT_ONCE);
        self.prepare(&mut members[..at_once], count, async |session, number| {
            let txn = format!("fill{}", self.unique());
            session
                .send(room, &txn, &format!("message {number} of many, about as long as people write"))
                .await
        })
        .await
    }

    /// Runs operations that are not measured but must all succeed.
    pub(crate) async fn prepare<S>(
        &self,
        sessions: &mut [S],
        count: usize,
        operation: impl AsyncFn(&mut S, usize) -> Result<()>,
    ) -> Result<()> {
        let limit = Limit { count, time: PREPARE_TIME };
        complete(&closed_loop(sessions, limit, operation).await, limit)
    }

    /// Measures one piece of work: what the server used from here until it is quiet again.
    pub(crate) async fn measure(
        &self,
        scenario: &'static str,
        variant: impl Into<String>,
        work: impl Future<Output = Result<Load>>,
    ) -> Result<Row> {
        self.measure_of(self.server.pids()?, scenario, variant, work).await
    }

    /// The same for other processes than those of the server.
    pub(crate) async fn measure_of(
        &self,
        pids: Pids,
        scenario: &'static str,
        variant: impl Into<String>,
        work: impl Future<Output = Result<Load>>,
    ) -> Result<Row> {
        quiesce(pids).await;
        Memory::reset_peak(pids);
        let before = Cpu::read(pids);
        let load = work.await?;
        quiesce(pids).await;
        let cpu = Cpu::read(pids).since(before);
        Ok(Row::new(self.server.kind, scenario, variant).with_load(load, cpu).with_memory(Memory::read(pids)))
    }
}

/// Lets everybody join, a few at a time.
pub(crate) async fn join_all(members: &mut [Session], room: &str) -> Result<()> {
    for batch in members.chunks_mut(PREPARE_AT_ONCE) {
        let joins = batch.iter_mut().map(|member| member.join(room));
        futures_util::future::try_join_all(joins).await?;
    }
    Ok(())
}

fn complete(load: &Load, limit: Limit) -> Result<()> {
    ensure!(
        load.errors == 0 && load.done() == limit.count,
        "preparing stopped after {} of {} in {:?}, {} errors{}",
        load.done(),
        limit.count,
        load.elapsed,
        load.errors,
        load.first_error.as_ref().map(|error| format!(", first: {error}")).unwrap_or_default(),
    );
    Ok(())
}
