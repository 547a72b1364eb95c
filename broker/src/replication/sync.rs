//! Brings all members of a route to one end, from which an epoch goes on: the steps of record 4, one journal at a time.
//!
//! ```text
//!  heads of all members ─► agree (pure) ─► fetch what we lack ─► record the epoch ─► begin it in our log ─► attach the peers
//!         ▲                  │ nobody of the last epoch: ask those too                     │
//!         └──────────────────┴───────────────────────────────────── the record has changed ┘
//! ```
//!
//! It decides nothing about rounds: its outcome is a command to the journal's core.

mod attach;
mod fetch;

use std::mem;
use std::sync::Arc;

use courant_fragment::spool::state::Proposal;
use courant_proto::codec::Codec;
use courant_proto::endpoint::Endpoint;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::route::Route;
use courant_proto::status::Status;
use courant_proto::wire;
use courant_proto::wire::courant;
use futures::future::join_all;
use tokio::sync::oneshot;

use super::local::{Fault, Head, Held, OpenHead};
use crate::background::Background;
use crate::core::command::{Agreed, Command};
use crate::journal_space::Space;
use crate::lineage::agree::{self, Contributor, Known, Wish};
use crate::lineage::judge::Reason;
use crate::lineage::{BeginEpoch, EpochOutcome, Lineage, judge, log_number};
use crate::replica::Replica;

/// How often the record of a journal may change under one agreement.
const MOST_TRIES: usize = 8;

/// An agreement to reach.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) replica: Arc<Replica>,
    /// Which one of its core it is.
    pub(crate) attempt: u64,
    pub(crate) route: Arc<Route>,
    /// The revision at which the route was so.
    pub(crate) revision: i64,
    /// How far our own log knows the journal.
    pub(crate) own: Head,
    /// An epoch that this process and these members have agreed on before.
    pub(crate) goes_on: Option<GoesOn>,
    /// The epoch begins here or above.
    pub(crate) begin: Offset,
    /// An operator gave that offset, knowing that bytes may be missing below it.
    pub(crate) accept_loss: bool,
    pub(crate) store_end: Offset,
    pub(crate) codec: Codec,
    /// The epoch that this process began last, whether all members came to it or not.
    pub(crate) entered: Option<u64>,
    /// Agreements that failed since the last one was reached.
    pub(crate) failures: u32,
}

/// An epoch that goes on.
#[derive(Clone, Debug)]
pub(crate) struct GoesOn {
    pub(crate) epoch: u64,
    /// Who agreed on it.
    pub(crate) members: Arc<[Held]>,
}

/// A member of the route besides us.
#[derive(Clone, Debug)]
struct Peer {
    id: ProcessId,
    endpoint: Endpoint,
    is_courant: bool,
}

/// What a member told of its log.
#[derive(Clone, Debug)]
struct Told {
    id: ProcessId,
    endpoint: Option<Endpoint>,
    token: u64,
    log: Option<u64>,
    certain: bool,
    open: Option<TheirHead>,
}

#[derive(Clone, Debug)]
struct TheirHead {
    epoch: u64,
    begin: Offset,
    end: Offset,
    registers: Registers,
}

/// Where the journal goes on.
struct Epoch {
    number: u64,
    prior: u64,
    base: Offset,
    registers: Registers,
    /// What all members are to hold.
    proposal: Proposal,
}

/// Why there was no agreement: a reason that may pass, or that the record of the journal has changed.
enum Failure {
    Changed,
    Refused {
        floor: Offset,
    },
    Passing {
        peer: Option<ProcessId>,
        why: String,
    },
    /// A disk refuses.
    Full(String),
    /// A peer holds another spool than the one that is to go on.
    Differs(String),
    /// A peer does not know what it was asked: it is of another make.
    Foreign(ProcessId),
}

impl Failure {
    fn passing(why: impl ToString) -> Self {
        Self::Passing { peer: None, why: why.to_string() }
    }

    /// What our own core could not do.
    fn here(fault: Fault) -> Self {
        match fault {
            Fault::Disk(why) => Self::Full(why),
            Fault::Elsewhere => Self::passing("what was fetched does not follow what is here"),
            Fault::Unfollowed(_) => Self::passing("a later agreement, or another primary, has taken over"),
        }
    }

    /// What a peer answered. One that has no room is as reachable as any other.
    fn answered(peer: &ProcessId, status: &tonic::Status) -> Self {
        match status.code() {
            tonic::Code::ResourceExhausted => Self::Full(format!("broker {peer}: {}", status.message())),
            _ => Self::of(peer, status.message()),
        }
    }

    fn of(peer: &ProcessId, why: impl ToString) -> Self {
        let why = format!("broker {peer}: {}", why.to_string());
        Self::Passing { peer: Some(peer.clone()), why }
    }
}

/// Reaches an agreement, or tells why not. The core that wants it waits for nothing else.
pub(crate) async fn reach(background: Background, agreement: Agreement) -> Agreed {
    let mut syncing = Syncing { background, agreement, is_doubtful: false };
    for _ in 0..MOST_TRIES {
        match Box::pin(syncing.attempt()).await {
            Ok(agreed) => {
                for member in syncing.agreement.route.members() {
                    syncing.background.reached(member);
                }
                return agreed;
            }
            Err(Failure::Changed) => {}
            Err(Failure::Refused { floor }) => return Agreed::Refused { floor },
            Err(Failure::Passing { peer, why }) => {
                // Once may be a hiccup; twice in a row is told to who allocates.
                if let Some(peer) = peer.filter(|_| syncing.agreement.failures > 0) {
                    syncing.background.unreachable(&peer);
                }
                return Agreed::Unavailable(why);
            }
            Err(Failure::Full(why)) => return Agreed::Full(why),
            Err(Failure::Differs(why)) => return Agreed::Unavailable(why),
            Err(Failure::Foreign(peer)) => {
                return Agreed::Unavailable(format!("broker {peer} does not tell heads"));
            }
        }
    }
    Agreed::Unavailable("the lineage of the journal keeps changing".to_owned())
}

struct Syncing {
    background: Background,
    agreement: Agreement,
    /// Somebody told of an epoch that the record did not have when it was read last.
    is_doubtful: bool,
}

impl Syncing {
    async fn attempt(&mut self) -> Result<Agreed, Failure> {
        let space = self.background.mirror.snapshot();
        let mut peers = self.peers(&space)?;
        // Who has not said yet that it is Courant's is asked all the same: as another make's it would hold bytes of no epoch.
        let asked = join_all(peers.iter().map(|peer| self.head(&space, peer))).await;
        let mut told = Vec::with_capacity(peers.len());
        for (peer, answer) in peers.iter_mut().zip(asked) {
            match answer {
                Ok(head) => {
                    peer.is_courant = true;
                    told.push(head);
                }
                Err(Failure::Foreign(_)) if !peer.is_courant => {}
                Err(failure) => return Err(failure),
            }
        }
        let ours: Vec<Peer> = peers.iter().filter(|peer| peer.is_courant).cloned().collect();
        let all_are_ours = ours.len() == peers.len();
        let held = |member: &ProcessId| Held { member: member.clone(), log: self.log_of(member, &told) };
        let members: Arc<[Held]> = self.agreement.route.members().iter().map(held).collect();

        let knows_end = all_are_ours
            && self.agreement.own.certain
            && told.iter().all(|told| told.certain)
            && members.iter().all(|held| log_number::is_unbroken(held.log))
            && space.members().all(|(_, spec)| self.background.is_courant(&spec.id));

        if let Some(epoch) = self.goes_on(&told).filter(|_| all_are_ours) {
            match self.attach(&space, &peers, &told, None, &epoch).await {
                Ok(links) => {
                    return Ok(Agreed::Open {
                        epoch: epoch.number,
                        base: epoch.base,
                        members,
                        links,
                        knows_end,
                        lost_end: None,
                    });
                }
                // It would differ each time; the next epoch begins with a spool that is empty on all of them.
                Err(Failure::Differs(why)) => {
                    tracing::info!(journal = %self.agreement.replica.journal, why, "an epoch cannot go on, and the next begins");
                    self.agreement.goes_on = None;
                    return Err(Failure::Changed);
                }
                Err(failure) => return Err(failure),
            }
        }
        let (record, after, base, registers) = self.agree_on(&space, &told).await?;
        // A broker of another make is not asked: to what it holds beyond us, everybody rolls, and its registers are the newer ones.
        let (foreign, base, registers) = self.attach_foreign(&space, &peers, base, registers).await?;
        let wish = BeginEpoch {
            journal: self.agreement.replica.journal.clone(),
            create_revision: self.agreement.replica.create_revision,
            after,
            logs: members.iter().map(|held| held.log).collect(),
            members: members.iter().map(|held| held.member.clone()).collect(),
            begin: base,
            registers,
        };
        // One that was recorded, and that nobody has committed anything in, is as good as another.
        let (number, base, registers) = match self.begun_in_vain(record.as_ref(), &wish, &told) {
            true => (after, wish.begin, wish.registers),
            false => match self.background.lineage.begin_epoch(wish).await {
                EpochOutcome::Began { epoch, begin, registers } => (epoch, begin, registers),
                EpochOutcome::Changed => return Err(Failure::Changed),
                EpochOutcome::Unavailable(why) => return Err(Failure::passing(why)),
            },
        };
        let entered = self.enter(number, base, &registers).await?;
        let epoch =
            Epoch { number, prior: number.saturating_sub(1), base, registers, proposal: entered.committed };
        let mut links = self.attach(&space, &peers, &told, record.as_ref(), &epoch).await?;
        for stream in foreign {
            links.push(self.listen(stream, links.len(), false));
        }
        let lost_end = record.map_or(Offset::ZERO, |record| record.lost_end());
        let lost_end = Some(if lost_end > base { lost_end } else { Offset::ZERO });
        Ok(Agreed::Open { epoch: number, base, members, links, knows_end, lost_end })
    }

    /// Whether the newest epoch is one that this process recorded for these very members and logs, from this base on, and that has stayed
    /// empty on all of them: an attachment had failed.
    fn begun_in_vain(&self, record: Option<&Lineage>, wish: &BeginEpoch, told: &[Told]) -> bool {
        let Some(newest) = record.and_then(Lineage::newest) else { return false };
        let own = self.agreement.own.open.as_ref();
        let own_is_empty = own.is_some_and(|own| own.epoch == newest.number && own.committed.is_empty());
        let all_are_empty = told.iter().filter_map(|told| told.open.as_ref()).all(|open| {
            open.epoch < newest.number || (open.epoch == newest.number && open.end == wish.begin)
        });
        self.agreement.entered == Some(newest.number)
            && newest.sealed.is_none()
            && newest.begin() == wish.begin
            && newest.registers() == wish.registers
            && newest.logs == wish.logs
            && newest.ids().eq(wish.members.iter().cloned())
            && own_is_empty
            && all_are_empty
    }

    /// The other members of the route, and where they are reached.
    fn peers(&self, space: &Space) -> Result<Vec<Peer>, Failure> {
        let others = self.agreement.route.members().iter().filter(|id| **id != self.background.me);
        others
            .map(|id| {
                let spec = space.member(id).ok_or_else(|| Failure::of(id, "it is not a member any more"))?;
                let is_courant = self.background.is_courant(id);
                Ok(Peer { id: id.clone(), endpoint: spec.endpoint.clone(), is_courant })
            })
            .collect()
    }

    fn log_of(&self, member: &ProcessId, told: &[Told]) -> u64 {
        if *member == self.background.me {
            return self.background.log_number.unwrap_or(0);
        }
        told.iter().find(|told| told.id == *member).and_then(|told| told.log).unwrap_or(0)
    }

    /// Asks a broker how far its log knows the journal.
    async fn head(&self, space: &Space, peer: &Peer) -> Result<Told, Failure> {
        let replica = &self.agreement.replica;
        let request = courant::HeadsRequest {
            header: Some(self.header(space, &peer.id)),
            caller: Some((&self.background.me).into()),
            incarnation: self.background.registry.incarnation(),
            journals: vec![courant::heads_request::Journal {
                name: replica.journal.as_str().to_owned(),
                create_revision: replica.create_revision,
            }],
        };
        let answer = self.background.peers.heads(&peer.id, &peer.endpoint, request).await;
        let answer = answer.map_err(|status| match status.code() {
            tonic::Code::Unimplemented => Failure::Foreign(peer.id.clone()),
            _ => Failure::of(&peer.id, status.message()),
        })?;
        let head = answer.heads.into_iter().next().unwrap_or_default();
        if head.status != Status::Ok as i32 {
            let status = Status::from_wire(head.status).map_or("an unknown status", Status::name);
            return Err(Failure::passing(format!("broker {} answers {status}", peer.id)));
        }
        let offset =
            |value| Offset::new(value).ok_or_else(|| Failure::of(&peer.id, "it tells of a negative offset"));
        let open = if head.end == 0 && head.epoch == 0 && !head.known {
            None
        } else {
            let registers = head.registers.map(Registers::try_from).transpose();
            Some(TheirHead {
                epoch: head.epoch,
                begin: offset(head.begin)?,
                end: offset(head.end)?,
                registers: registers.map_err(|error| Failure::of(&peer.id, error))?.unwrap_or_default(),
            })
        };
        Ok(Told {
            id: peer.id.clone(),
            endpoint: Some(peer.endpoint.clone()),
            token: head.token,
            log: Some(answer.log).filter(|log| *log != 0),
            certain: head.known || open.is_none(),
            open,
        })
    }

    /// The epoch that goes on as it is, if every member knows it and nobody is further than we.
    fn goes_on(&self, told: &[Told]) -> Option<Epoch> {
        let GoesOn { epoch, ref members } = *self.agreement.goes_on.as_ref()?;
        // A log that was emptied since does not hold what was agreed on.
        let same_log =
            |told: &Told| members.iter().any(|held| held.member == told.id && Some(held.log) == told.log);
        let own = self.agreement.own.open.as_ref().filter(|own| own.epoch == epoch)?;
        let end = own.committed.end;
        let all = told.iter().all(|told| {
            told.certain
                && same_log(told)
                && told.open.as_ref().is_some_and(|open| open.epoch == epoch && open.end <= end)
        });
        (all && self.agreement.begin <= end).then(|| Epoch {
            number: epoch,
            prior: epoch,
            base: end,
            registers: own.registers.clone(),
            proposal: own.committed,
        })
    }

    /// Where the next epoch begins, after which, and with which registers. What our log lacks below is fetched.
    async fn agree_on(
        &mut self,
        space: &Space,
        told: &[Told],
    ) -> Result<(Option<Lineage>, u64, Offset, Registers), Failure> {
        let replica = Arc::clone(&self.agreement.replica);
        let record = self.background.lineage.record(&replica.journal, replica.create_revision).await;
        let record = record.map_err(Failure::passing)?;
        let own = Told {
            id: self.background.me.clone(),
            endpoint: None,
            token: self.agreement.own.token,
            log: self.background.log_number,
            certain: self.agreement.own.certain,
            open: self.agreement.own.open.as_ref().map(|open| TheirHead {
                epoch: open.epoch,
                begin: open.committed.begin,
                end: open.committed.end,
                registers: open.registers.clone(),
            }),
        };
        let mut all: Vec<Told> = std::iter::once(own).chain(told.iter().cloned()).collect();
        let mut asked = false;
        let (after, base, registers, source) = loop {
            let contributors: Vec<Contributor> = all.iter().map(contributor).collect();
            let wish = Wish {
                create_revision: replica.create_revision,
                contributors: &contributors,
                begin: self.agreement.begin,
                accept_loss: self.agreement.accept_loss,
                store_end: self.agreement.store_end,
            };
            match agree::agree(record.as_ref(), &wish, asked) {
                agree::Agreed::At { after, base, registers, source } => {
                    break (after, base, registers, source);
                }
                agree::Agreed::Refuse { floor } => return Err(Failure::Refused { floor }),
                // Who was asked after the record was read may have heard of a later epoch.
                agree::Agreed::Unknown { .. } if !mem::replace(&mut self.is_doubtful, true) => {
                    return Err(Failure::Changed);
                }
                agree::Agreed::Unknown { by, theirs, newest } => {
                    let reason = Reason::UnknownEpoch { theirs, newest };
                    let key =
                        String::from_utf8_lossy(&self.background.mirror.root().lineage(&replica.journal))
                            .into_owned();
                    return Err(Failure::passing(format!(
                        "what broker {by} holds counts for nothing by the registry, as {reason}: the registry was restored from a copy, or changed \
                         by hand; restore the key {key:?}, or delete it to accept what is here"
                    )));
                }
                agree::Agreed::Ask(members) => {
                    let peers = members.into_iter().filter_map(|id| {
                        let endpoint = space.member(&id)?.endpoint.clone();
                        Some(Peer { id, endpoint, is_courant: true })
                    });
                    let peers: Vec<Peer> = peers.collect();
                    let answers = join_all(peers.iter().map(|peer| self.head(space, peer))).await;
                    all.extend(answers.into_iter().flatten());
                    asked = true;
                }
            }
        };
        if let Some(own) = &self.agreement.own.open
            && own.committed.end > counts(record.as_ref(), own.epoch, base)
        {
            self.cut(counts(record.as_ref(), own.epoch, base)).await?;
        }
        self.complete_own(space, record.as_ref(), &all, base).await?;
        if let Some(source) = source.filter(|source| *source != self.background.me)
            && let Some(told) = all.iter().find(|told| told.id == source)
            && let Some(open) = told.open.clone()
        {
            let own = self.agreement.own.open.as_ref().filter(|own| own.epoch == open.epoch);
            let from = own.map_or(open.begin, |own| own.committed.end);
            self.fetch_from(space, told, open.epoch, (from, base), &open.registers).await?;
        }
        Ok((record, after, base, registers))
    }

    /// Begins the epoch in our own log.
    async fn enter(&self, epoch: u64, begin: Offset, registers: &Registers) -> Result<OpenHead, Failure> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Enter {
            replica: Arc::clone(&self.agreement.replica),
            attempt: self.agreement.attempt,
            epoch,
            begin,
            registers: registers.clone(),
            reply,
        };
        self.send(command).await?;
        let entered = answer.await.map_err(|_| Failure::passing("this broker is stopping"))?;
        entered.map_err(Failure::here)
    }

    fn header(&self, space: &Space, to: &ProcessId) -> wire::Header {
        let route = (*self.agreement.route).clone();
        let route = route.with_endpoints(|id| space.member(id).map(|spec| spec.endpoint.clone()));
        let mut etcd = space.etcd();
        // What the route rests on, and no more: who is asked must not wait for news that concern it in nothing.
        etcd.revision = self.agreement.revision;
        (&Header { process_id: Some(to.clone()), route, etcd }).into()
    }

    async fn send(&self, command: Command) -> Result<(), Failure> {
        let sent = self.background.cores.send(&self.agreement.replica.journal, command).await;
        sent.map_err(|status| Failure::passing(status.message()))
    }
}

/// Up to where content of an epoch counts, when the next one begins at `base`.
fn counts(record: Option<&Lineage>, epoch: u64, base: Offset) -> Offset {
    judge::counts_until(record, epoch).min(base)
}

fn contributor(told: &Told) -> Contributor {
    Contributor {
        id: told.id.clone(),
        log: told.log,
        certain: told.certain,
        head: told.open.as_ref().map(|open| Known {
            epoch: open.epoch,
            end: open.end,
            registers: open.registers.clone(),
        }),
    }
}
