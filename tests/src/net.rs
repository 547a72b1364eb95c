//! A network between processes of one machine, in the hands of a test: every connection goes through a door of it, and
//! what goes from one party to another can be held back, slowed, or broken off. Knows nothing of what is said.
//!
//! ```text
//!  broker 1 ──► door of broker 2 ──► broker 2        who knocks is found out: weather is made per pair and direction
//!  broker 1 ──► door of etcd    ──► etcd
//! ```
#![expect(clippy::disallowed_methods, reason = "the seam at which tests stand between processes")]

mod caller;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Most bytes that are under way in one direction of a connection, beside what the kernel holds.
const BUFFER: usize = 64 << 10;

/// Who speaks or listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// One of the cluster's brokers, by its place in the test.
    Broker(usize),
    /// The etcd.
    Etcd,
    /// Anybody else, such as the test itself.
    Outside,
}

/// What happens to bytes on their way from one party to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// None arrives until the weather changes; none is lost either.
    pub stalled: bool,
    /// How much later they arrive.
    pub delay: Duration,
    /// How many arrive in a second; zero is without a limit.
    pub rate: u32,
    /// They arrive one by one.
    pub single: bool,
    /// Connections of an earlier number are broken off.
    pub resets: u32,
}

type Ways = HashMap<(Party, Party), watch::Sender<Weather>>;

#[derive(Debug, Default)]
struct Shared {
    ways: Mutex<Ways>,
    /// The processes whose sockets are recognised.
    processes: Mutex<HashMap<u32, Party>>,
}

/// The network. Its doors close when it is dropped.
#[derive(Debug, Default)]
pub struct Net {
    shared: Arc<Shared>,
    doors: JoinSet<()>,
}

/// Where a party is reached through the network.
#[derive(Clone, Debug)]
pub struct Door {
    address: SocketAddr,
    leads_to: watch::Sender<Option<SocketAddr>>,
}

impl Door {
    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads on to this address from now on, or nowhere: then connections are broken off as soon as they come.
    pub fn lead(&self, address: Option<SocketAddr>) {
        self.leads_to.send_replace(address);
    }
}

impl Net {
    /// Opens a door to a party, for whoever knocks.
    pub async fn door(&mut self, to: Party) -> Door {
        self.open(None, to).await
    }

    /// Opens a door to a party that only one other party knows of.
    pub async fn door_between(&mut self, from: Party, to: Party) -> Door {
        self.open(Some(from), to).await
    }

    async fn open(&mut self, from: Option<Party>, to: Party) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let leads_to = watch::Sender::new(None);
        let door = Door { address, leads_to: leads_to.clone() };
        self.doors.spawn(accept(listener, from, to, leads_to.subscribe(), Arc::clone(&self.shared)));
        door
    }

    /// From now on, connections of this process are that party's.
    pub fn know(&self, process: u32, party: Party) {
        lock(&self.shared.processes).insert(process, party);
    }

    /// Changes the weather on the way from one party to another.
    pub fn change(&self, from: Party, to: Party, change: impl FnOnce(&mut Weather)) {
        self.shared.way(from, to).send_modify(change);
    }

    /// Lets nothing through between two parties, in either direction.
    pub fn cut(&self, one: Party, other: Party) {
        self.change(one, other, |weather| weather.stalled = true);
        self.change(other, one, |weather| weather.stalled = true);
    }

    /// Breaks off all connections between two parties.
    pub fn reset(&self, one: Party, other: Party) {
        self.change(one, other, |weather| weather.resets += 1);
        self.change(other, one, |weather| weather.resets += 1);
    }

    /// Fair weather everywhere.
    pub fn heal(&self) {
        for way in lock(&self.shared.ways).values() {
            way.send_modify(|weather| *weather = Weather { resets: weather.resets, ..Weather::default() });
        }
    }
}

impl Shared {
    fn way(&self, from: Party, to: Party) -> watch::Sender<Weather> {
        lock(&self.ways).entry((from, to)).or_default().clone()
    }

    fn caller(&self, peer: SocketAddr) -> Party {
        let known = lock(&self.processes).clone();
        caller::process(peer, known.keys().copied()).map_or(Party::Outside, |process| known[&process])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

async fn accept(
    listener: TcpListener,
    from: Option<Party>,
    to: Party,
    leads_to: watch::Receiver<Option<SocketAddr>>,
    shared: Arc<Shared>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let from = from.unwrap_or_else(|| shared.caller(peer));
        let (there, back) = (shared.way(from, to).subscribe(), shared.way(to, from).subscribe());
        let target = *leads_to.borrow();
        connections.spawn(async move {
            // What goes wrong on a connection is for its two ends to notice.
            drop(connect(stream, target, there, back).await);
        });
    }
}

async fn connect(
    near: TcpStream,
    target: Option<SocketAddr>,
    mut there: watch::Receiver<Weather>,
    back: watch::Receiver<Weather>,
) -> io::Result<()> {
    near.set_zero_linger()?;
    // Whoever is cut off is not even told that nobody is there.
    let resets = there.borrow().resets;
    passable(&mut there).await;
    let Some(target) = target.filter(|_| there.borrow().resets == resets) else { return Ok(()) };
    let far = TcpStream::connect(target).await?;
    far.set_zero_linger()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        // When one side has broken off, the other one is broken off too.
        broken = async { tokio::try_join!(pump(near_read, far_write, there.clone()), pump(far_read, near_write, back)) } => drop(broken?),
        () = reset(there.clone(), resets) => {}
    }
    Ok(())
}

/// Carries bytes one way until they end.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        passable(&mut way).await;
        let read = from.read(&mut buffer).await?;
        // What was under way when the weather changed is held back as well.
        passable(&mut way).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let weather = *way.borrow();
        if !weather.delay.is_zero() {
            sleep(weather.delay).await;
        }
        let step = if weather.single { 1 } else { read };
        for part in buffer[..read].chunks(step) {
            to.write_all(part).await?;
        }
        if weather.rate > 0 {
            sleep(Duration::from_secs(1).mul_f64(read as f64 / f64::from(weather.rate))).await;
        }
    }
}

async fn passable(way: &mut watch::Receiver<Weather>) {
    // The network is gone if nobody can change the weather any more; then it does not matter.
    drop(way.wait_for(|weather| !weather.stalled).await);
}

async fn reset(mut way: watch::Receiver<Weather>, resets: u32) {
    if way.wait_for(|weather| weather.resets != resets).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
