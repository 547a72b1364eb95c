//! A cluster as processes: an etcd, brokers in zones with one store between them, and a network in the hands of the test.
//! Knows who is alive, and what etcd says of journals; nothing of content.
#![expect(clippy::disallowed_methods, reason = "the seam at which tests take a store away")]

mod routes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use courant_client::Client;
use courant_proto::wire;
use futures::future::join_all;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub use self::routes::{Held, holders};
use crate::etcd::Etcd;
use crate::net::{Door, Net, Party};
use crate::process::{Node, Ran};

/// Where the keys of the cluster lie.
pub const PREFIX: &str = "/courant/cluster";

const TICK: Duration = Duration::from_millis(50);

/// How a cluster is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many brokers there are.
    pub brokers: usize,
    /// Over how many zones they are spread.
    pub zones: usize,
    /// The time to live of their leases.
    pub lease_ttl: Duration,
    /// Bytes that each may hold which no store has, if that is not left to it.
    pub spool_quota: Option<u64>,
    /// Whether clients reach brokers through the network, too, so that they can be cut off.
    pub clients_through_net: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            brokers: 5,
            zones: 3,
            lease_ttl: Duration::from_secs(4),
            spool_quota: None,
            clients_through_net: false,
        }
    }
}

/// Where brokers listen, for those who use them. None while a broker does not run.
pub type Addresses = Arc<Vec<watch::Sender<Option<SocketAddr>>>>;

/// Brokers that share an etcd and a store. All processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// Its etcd.
    pub etcd: Etcd,
    /// The network between brokers, and between them and the etcd.
    pub net: Net,
    plan: Plan,
    members: Vec<Member>,
    addresses: Addresses,
    store: TempDir,
    root: PathBuf,
    etcd_doors: Vec<Door>,
}

#[derive(Debug)]
struct Member {
    node: Node,
    door: Door,
    /// Through which clients come, if they do.
    clients: Option<Door>,
    frozen: bool,
}

impl Cluster {
    /// Starts one and waits until all its brokers are ready. None if there need not be an etcd.
    pub async fn start(plan: Plan) -> Option<Self> {
        let etcd = Etcd::start().await?;
        let store = tempfile::tempdir().expect("a folder");
        let mut net = Net::default();
        let (mut members, mut etcd_doors) = (Vec::new(), Vec::new());
        for index in 0..plan.brokers {
            let to_etcd = net.door(Party::Etcd).await;
            to_etcd.lead(Some(etcd.address()));
            let door = net.door(Party::Broker(index)).await;
            let clients = match plan.clients_through_net {
                true => Some(net.door_between(Party::Outside, Party::Broker(index)).await),
                false => None,
            };
            std::fs::create_dir_all(root_of(&store)).expect("a folder");
            let root = root_of(&store);
            let root = root.to_str().expect("a path of text");
            let ttl = format!("{}s", plan.lease_ttl.as_secs());
            let quota = plan.spool_quota.map(|quota| quota.to_string());
            let (etcd_url, advertised) = (to_etcd.url(), door.url());
            let (id, zone) = (suffix(index), zone(index, plan.zones));
            let mut flags = vec![
                "--etcd",
                &etcd_url,
                "--prefix",
                PREFIX,
                "--id",
                &id,
                "--zone",
                &zone,
                "--advertise",
                &advertised,
                "--file-root",
                root,
                "--lease-ttl",
                &ttl,
            ];
            flags.extend(quota.iter().flat_map(|quota| ["--spool-quota", quota]));
            let node = Node::prepared(&flags);
            members.push(Member { node, door, clients, frozen: false });
            etcd_doors.push(to_etcd);
        }
        let addresses = Arc::new(members.iter().map(|_| watch::Sender::new(None)).collect());
        let root = root_of(&store);
        let mut cluster = Self { etcd, net, plan, members, addresses, store, root, etcd_doors };
        cluster.launch(&cluster.all()).await;
        cluster.until_ready(&cluster.all()).await;
        Some(cluster)
    }

    /// How it was made.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// The places of all brokers, running or not.
    pub fn all(&self) -> Vec<usize> {
        (0..self.members.len()).collect()
    }

    /// The places of those that run and are not frozen.
    pub fn alive(&self) -> Vec<usize> {
        self.all().into_iter().filter(|index| self.is_alive(*index)).collect()
    }

    /// Whether a broker runs and is not frozen.
    pub fn is_alive(&self, index: usize) -> bool {
        self.members[index].node.runs() && !self.members[index].frozen
    }

    /// Where all brokers listen, as it changes.
    pub fn addresses(&self) -> Addresses {
        Arc::clone(&self.addresses)
    }

    /// A broker's process and folder.
    pub fn node(&self, index: usize) -> &Node {
        &self.members[index].node
    }

    /// The key of a broker's place among the members, and the id in it.
    pub fn id(&self, index: usize) -> wire::process_spec::Id {
        wire::process_spec::Id { zone: zone(index, self.plan.zones), suffix: suffix(index) }
    }

    /// The place of the broker with this id.
    pub fn index(&self, id: &wire::process_spec::Id) -> Option<usize> {
        self.all().into_iter().find(|index| self.id(*index) == *id)
    }

    /// Where others reach a broker.
    pub fn endpoint(&self, index: usize) -> String {
        self.members[index].door.url()
    }

    /// The folder of the store that all of them share.
    pub fn store(&self) -> &Path {
        &self.root
    }

    /// Takes the store away from all brokers, or gives it back: there is a file in place of its folder.
    pub fn hide_store(&self, hidden: bool) {
        let away = self.store.path().join("away");
        if hidden {
            std::fs::rename(&self.root, &away).expect("a folder");
            std::fs::write(&self.root, "in the way").expect("a file");
        } else {
            std::fs::remove_file(&self.root).expect("a file");
            std::fs::rename(&away, &self.root).expect("a folder");
        }
    }

    /// How many files the store has, hidden or not.
    pub fn stored(&self) -> usize {
        files(self.store.path())
    }

    /// A client of a broker that is alive.
    pub fn client(&self) -> Client {
        let index = *self.alive().first().expect("a broker is alive");
        self.members[index].node.client()
    }

    /// Starts brokers, and waits until they listen.
    pub async fn launch(&mut self, which: &[usize]) {
        let started = self.members.iter_mut().enumerate().filter(|(index, _)| which.contains(index));
        let net = &self.net;
        // A connection whose process is not known when it comes is nobody's for as long as it lasts, and no link of it can be cut.
        let launched = started.map(|(index, member)| {
            member.node.launch_seen(move |process| net.know(process, Party::Broker(index)))
        });
        join_all(launched).await;
        for index in which {
            let member = &self.members[*index];
            member.door.lead(Some(member.node.address()));
            if let Some(clients) = &member.clients {
                clients.lead(Some(member.node.address()));
            }
            let address = member.clients.as_ref().map_or_else(|| member.node.address(), Door::address);
            self.addresses[*index].send_replace(Some(address));
        }
    }

    /// Waits until brokers say that they are ready.
    pub async fn until_ready(&self, which: &[usize]) {
        let ready = which.iter().map(|index| async move {
            let node = &self.members[*index].node;
            let ready = node.becomes_ready(Duration::from_secs(90)).await;
            assert!(ready, "broker {index} is not ready:\n{}", node.log());
        });
        join_all(ready).await;
    }

    /// Starts brokers again, and waits until they are ready.
    pub async fn restart(&mut self, which: &[usize]) {
        self.launch(which).await;
        self.until_ready(which).await;
    }

    /// Ends brokers at once, as a crash would.
    pub fn kill(&mut self, which: &[usize]) {
        for index in which {
            self.gone(*index);
            self.members[*index].node.kill();
            self.members[*index].frozen = false;
        }
    }

    /// Holds a broker where it is. Whoever speaks with it hears nothing.
    pub fn freeze(&mut self, index: usize) {
        self.members[index].node.signal("STOP");
        self.members[index].frozen = true;
    }

    /// Lets a broker go on.
    pub fn thaw(&mut self, index: usize) {
        self.members[index].node.signal("CONT");
        self.members[index].frozen = false;
    }

    /// Asks brokers to stop, all at once, and waits until they have.
    pub async fn terminate(&mut self, which: &[usize]) -> Vec<ExitStatus> {
        for index in which {
            self.members[*index].node.signal("TERM");
        }
        let stopped = self.members.iter_mut().enumerate().filter(|(index, _)| which.contains(index));
        let statuses = join_all(stopped.map(|(_, member)| member.node.ended())).await;
        which.iter().for_each(|index| self.gone(*index));
        statuses
    }

    /// Starts a second process with the id of a broker, on a folder of its own, which is expected to end by itself.
    pub async fn impostor(&self, index: usize) -> Ran {
        self.members[index].node.impostor().await
    }

    /// Removes all that a broker that does not run has kept.
    pub fn forget(&mut self, index: usize) {
        self.members[index].node.forget();
    }

    /// Brokers that ended although nobody asked them to, with what they said last.
    pub fn casualties(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for index in self.all() {
            if let Some(status) = self.members[index].node.has_ended() {
                self.gone(index);
                let log = self.members[index].node.log();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                ended.push(format!("broker {index} ended with {status}: {last:?}"));
            }
        }
        ended
    }

    /// What etcd says of all journals.
    pub async fn journals(&self) -> BTreeMap<String, Held> {
        routes::read(&self.etcd).await
    }

    /// Waits until each of these journals has so many replicas, all of which know each other.
    ///
    /// # Errors
    /// What is missing when the time is over.
    pub async fn converged(&self, names: &[String], replicas: usize, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            let held = self.journals().await;
            let missing = names.iter().find_map(|name| match held.get(name) {
                Some(held) => held.is_settled(replicas).err().map(|what| format!("{name}: {what}: {held:?}")),
                None => Some(format!("{name} is not there")),
            });
            match missing {
                None => return Ok(()),
                Some(missing) if Instant::now() > deadline => {
                    return Err(format!("not converged in {within:?}: {missing}"));
                }
                Some(_) => sleep(TICK).await,
            }
        }
    }

    /// The doors through which a broker speaks with etcd.
    pub fn etcd_door(&self, index: usize) -> &Door {
        &self.etcd_doors[index]
    }

    fn gone(&self, index: usize) {
        self.addresses[index].send_replace(None);
        self.members[index].door.lead(None);
        if let Some(clients) = &self.members[index].clients {
            clients.lead(None);
        }
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// The store lies in a folder below, so that it can be taken away as a whole.
fn root_of(store: &TempDir) -> PathBuf {
    store.path().join("store")
}

fn suffix(index: usize) -> String {
    format!("broker-{index}")
}

fn zone(index: usize, zones: usize) -> String {
    format!("zone-{}", index % zones.max(1))
}
