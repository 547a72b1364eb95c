//! The `Replicate` RPC: checks who sends and whether routes agree, then hands on what the messages come to, and answers in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::Snapshot;
use courant_proto::endpoint::Endpoint;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::status::Status as Outcome;
use courant_proto::wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use super::attach::Fill;
use super::follow::{self, Broken, Decided, Follow, Proposed, Taken};
use crate::append::gather::Gathering;
use crate::core::command::Command;
use crate::journal_space::decode::Value;
use crate::peer::client::ANSWER;
use crate::replication::local::{Fault, Step, Taking, Unfollowed};
use crate::shared::{Shared, Wants};

/// Answers that may be owed before no more messages are read.
const OWED: usize = 64;

/// A primary that was replaced has so long to end what it has on its way, in order: its successor fences it as soon as it needs to. After
/// that it is not followed any more, even if it does not know.
const LEAVING: Duration = Duration::from_secs(2);

/// The messages of a primary.
pub(crate) type Requests = BoxStream<'static, Result<wire::ReplicateRequest, Status>>;

type Response = Result<wire::ReplicateResponse, Status>;

/// Serves one stream. The journal changes only while somebody polls the answers.
pub(crate) fn replicate(shared: Arc<Shared>, requests: Requests) -> BoxStream<'static, Response> {
    stream::unfold(State::Asked { shared, requests }, |state| async move { state.step().await }).boxed()
}

enum State {
    Asked { shared: Arc<Shared>, requests: Requests },
    Following(Box<Following>),
    Ended,
}

impl State {
    async fn step(self) -> Option<(Response, Self)> {
        let mut following = match self {
            Self::Ended => return None,
            Self::Following(following) => following,
            Self::Asked { shared, requests } => match Box::pin(Following::open(shared, requests)).await {
                Ok(Opened::Following(following)) => following,
                Ok(Opened::Refused(response)) => return Some((Ok(*response), Self::Ended)),
                Err(fault) => return Some((Err(fault), Self::Ended)),
            },
        };
        match following.next().await {
            Ok(Some(response)) => Some((Ok(response), Self::Following(following))),
            Ok(None) => None,
            Err(fault) => {
                let Following { journal, primary, .. } = &*following;
                tracing::debug!(%journal, %primary, %fault, "a stream of replication ended");
                Some((Err(fault), Self::Ended))
            }
        }
    }
}

enum Opened {
    Refused(Box<wire::ReplicateResponse>),
    Following(Box<Following>),
}

/// An answer that is owed.
enum Owed {
    /// When the core has done the step.
    Step { done: oneshot::Receiver<Result<(), Fault>>, answer: Option<wire::ReplicateResponse> },
    /// When those before it were given.
    Answer(wire::ReplicateResponse),
}

struct Following {
    shared: Arc<Shared>,
    requests: Requests,
    journal: JournalName,
    create_revision: i64,
    /// Who sends.
    primary: ProcessId,
    generation: u64,
    follow: Follow,
    /// Content that no proposal has asked for yet.
    kept: Gathering,
    owed: VecDeque<Owed>,
    /// Goes with the first answer.
    header: Option<wire::Header>,
    news: watch::Receiver<Arc<Snapshot<Value>>>,
    /// The primary sends no more.
    ended: bool,
    /// It is not the primary any more, and has until then to end the stream with what is on its way.
    leaving: Option<Instant>,
}

impl Following {
    async fn open(shared: Arc<Shared>, mut requests: Requests) -> Result<Opened, Status> {
        let first = timeout(ANSWER, requests.next()).await;
        let first =
            first.map_err(|_| Status::deadline_exceeded("a stream of replication began with nothing"))?;
        let first = first.ok_or_else(|| Status::unknown("unexpected EOF"))??;
        follow::check_first(&first).map_err(broken)?;
        let name = first.proposal.as_ref().map(|proposal| proposal.journal.as_str()).unwrap_or_default();
        let journal = JournalName::parse(name)?;
        let wants = Wants {
            may_proxy: false,
            primary: false,
            create: false,
            settles: false,
            min_revision: 0,
            header: first.header.as_ref(),
        };
        let news = shared.mirror.subscribe();
        let located = shared.locate(&journal, &wants).await?;
        let ours = located.resolution.header;
        let refuse = |status: Outcome| {
            let header = Some((&ours).into());
            Opened::Refused(Box::new(wire::ReplicateResponse {
                status: status as i32,
                header,
                ..Default::default()
            }))
        };
        let (Outcome::Ok, Some(replica)) = (located.resolution.status, located.replica) else {
            return Ok(refuse(located.resolution.status));
        };
        let theirs = Header::try_from(first.header.clone().unwrap_or_default())?;
        let create_revision = replica.create_revision;
        if first.attach.is_some_and(|attach| attach.create_revision != create_revision) {
            return Ok(refuse(Outcome::JournalNotFound));
        }
        // Only a primary replicates: a route without one is nobody's to act upon.
        let primary = ours.route.primary_member().filter(|_| theirs.route.equivalent(&ours.route)).cloned();
        let Some(primary) = primary.filter(|primary| *primary != shared.config.id) else {
            return Ok(refuse(Outcome::WrongRoute));
        };
        let (reply, begun) = oneshot::channel();
        let token = first.attach.map(|attach| attach.token);
        let command = Command::Follow { journal: journal.clone(), create_revision, token, reply };
        shared.cores.send(&journal, command).await?;
        let begun = begun.await.map_err(|_| crate::core::stopping())?;
        let begun = begun.map_err(|unfollowed| faulted(&Fault::Unfollowed(unfollowed)))?;
        let mut following = Self {
            follow: Follow::new(journal.clone(), begun.open),
            shared,
            requests,
            journal,
            create_revision,
            primary,
            generation: begun.generation,
            kept: Gathering::default(),
            owed: VecDeque::new(),
            header: Some((&ours).into()),
            news,
            ended: false,
            leaving: None,
        };
        following.begin(first, &ours).await?;
        Ok(Opened::Following(Box::new(following)))
    }

    /// Takes the first message.
    async fn begin(&mut self, first: wire::ReplicateRequest, ours: &Header) -> Result<(), Status> {
        let Some(attach) = first.attach else { return self.take(first).await };
        if let Some(lacking) = self.follow.lacking(&attach, &first).map_err(broken)? {
            let endpoint = self.primary_endpoint()?;
            let fill = Fill {
                shared: &self.shared,
                journal: &self.journal,
                create_revision: self.create_revision,
                generation: self.generation,
            };
            let header = Header { process_id: Some(self.primary.clone()), ..ours.clone() };
            if let Some(open) = fill.run(&endpoint, &header, &lacking).await? {
                self.follow.filled(open);
            }
        }
        let proposed = self.follow.attach(&attach, &first).map_err(broken)?;
        self.hand_on(proposed).await
    }

    fn primary_endpoint(&self) -> Result<Endpoint, Status> {
        let space = self.shared.space();
        let endpoint = space.member(&self.primary).map(|spec| spec.endpoint.clone());
        endpoint.ok_or_else(|| self.superseded())
    }

    /// The next answer; none when the primary has ended the stream, and was given all of them.
    async fn next(&mut self) -> Result<Option<wire::ReplicateResponse>, Status> {
        loop {
            if self.ended && self.owed.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = self.shared.closing.cancelled() => return Err(crate::core::stopping()),
                changed = self.news.changed() => {
                    if changed.is_err() {
                        return Err(crate::core::stopping());
                    }
                    if self.is_still_primary() {
                        self.leaving = None;
                    } else {
                        self.leaving.get_or_insert_with(|| Instant::now() + LEAVING);
                    }
                }
                () = sleep_until(self.leaving.unwrap_or_else(Instant::now)), if self.leaving.is_some() => {
                    return Err(self.superseded());
                }
                done = done(&mut self.owed) => {
                    if let Some(mut answer) = done? {
                        answer.header = self.header.take();
                        return Ok(Some(answer));
                    }
                }
                request = self.requests.next(), if !self.ended && self.owed.len() < OWED => match request {
                    Some(request) => self.take(request?).await?,
                    None => self.ended = true,
                },
            }
        }
    }

    fn is_still_primary(&self) -> bool {
        let space = self.shared.space();
        let is_there =
            space.item(&self.journal).is_some_and(|item| item.create_revision == self.create_revision);
        let primary = space.assignments(&self.journal).find(|assigned| assigned.assignment.slot == 0);
        is_there && primary.is_some_and(|assigned| assigned.assignment.member == self.primary)
    }

    fn superseded(&self) -> Status {
        Status::aborted(format!(
            "broker {} is not the primary of journal {} any more; nothing more of it is taken",
            self.primary, self.journal
        ))
    }

    async fn take(&mut self, request: wire::ReplicateRequest) -> Result<(), Status> {
        match self.follow.take(request).map_err(broken)? {
            Taken::Nothing => Ok(()),
            Taken::Content(content) => self.kept.push(content, &self.shared.budget),
            Taken::Proposed(proposed) => self.hand_on(proposed).await,
        }
    }

    /// Hands a step to the core, and owes its answer.
    async fn hand_on(&mut self, proposed: Proposed) -> Result<(), Status> {
        let Proposed { step, committed, answer, keeps } = proposed;
        let kept = if keeps { Gathering::default() } else { std::mem::take(&mut self.kept) };
        let step = match step {
            Decided::Skip => {
                self.owed.extend(answer.map(Owed::Answer));
                return Ok(());
            }
            Decided::Nothing => Step::Nothing,
            Decided::Roll { cut, begin, codec, registers, epoch } => {
                Step::Roll { cut, begin, codec, registers, epoch }
            }
            Decided::Commit { at, length, digest, registers } => {
                Step::Commit { at, content: kept.finish(), length, digest, registers }
            }
        };
        let (reply, done) = oneshot::channel();
        let taking = Taking { generation: self.generation, step, committed, reply: Some(reply) };
        let (journal, create_revision) = (self.journal.clone(), self.create_revision);
        let command = Command::Take { journal, create_revision, taking: Box::new(taking) };
        self.shared.cores.send(&self.journal, command).await?;
        self.owed.push_back(Owed::Step { done, answer });
        Ok(())
    }
}

/// The first answer that is owed, when it can be given; a step that wants none answers with none. While nothing is owed it waits.
async fn done(owed: &mut VecDeque<Owed>) -> Result<Option<wire::ReplicateResponse>, Status> {
    let answer = match owed.front_mut() {
        None => return std::future::pending().await,
        Some(Owed::Answer(answer)) => Some(std::mem::take(answer)),
        Some(Owed::Step { done, answer }) => {
            done.await.map_err(|_| crate::core::stopping())?.map_err(|fault| faulted(&fault))?;
            answer.take()
        }
    };
    owed.pop_front();
    Ok(answer)
}

/// What the primary is told of a step that was not done. Its stream is over with it.
pub(super) fn faulted(fault: &Fault) -> Status {
    match fault {
        Fault::Disk(why) => Status::resource_exhausted(format!(
            "{why}; nothing of this round was kept, try again when the disk has room and works"
        )),
        Fault::Elsewhere => Status::aborted("the spool is not where this stream left it; attach again"),
        Fault::Unfollowed(Unfollowed::NotHeld) => {
            Status::aborted("this broker does not follow the journal, or not any more; attach again")
        }
        Fault::Unfollowed(Unfollowed::Superseded) => {
            Status::aborted("a later primary, or a later stream of this one, has taken over; attach again")
        }
    }
}

/// Gazette answers a stream that breaks a rule with an error of no particular code.
fn broken(broken: Broken) -> Status {
    Status::unknown(broken.to_string())
}
