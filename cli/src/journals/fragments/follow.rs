//! `courant journals fragments --follow`: asks for the fragments of all journals again and again, and tells of each once.
//!
//! ```text
//!  every --poll: list journals ─► each: list fragments from its place on ─► advance (pure) ─► lines ─► cursor
//!                                                                              │
//!  once a time is over and --settle has passed: ask primaries ─► is_whole (pure), of all ─► a line that says so
//! ```
//!
//! A round asks at most `--rate` times a second, and so takes longer than `--poll` where there are many journals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use courant_client::Error;
use courant_proto::duration::GoDuration;
use courant_proto::time::Clock as _;
use courant_proto::wire::{self, Status, list_response};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::cursor::Cursor;
use super::progress::{Advance, Span, Step, advance, is_missing, is_whole, start};
use super::row::{Row, moment};
use super::{Listed, request, rows};
use crate::args::{FragmentsArgs, FragmentsFormat};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::journals::audit::ask::Brokers;
use crate::journals::read::Interrupts;
use crate::journals::{AT_ONCE, is_suspended, name_of};
use crate::output;
use crate::session::Session;

/// A journal that does not answer for so long is left to the next round.
const PATIENCE: Duration = Duration::from_secs(30);
/// Every so many rounds a journal is listed from its first fragment on: one that begins far before the place may reach across it.
const WHOLE_EVERY: u64 = 32;

/// Follows until interrupted.
pub(super) async fn run(session: &Session, args: &FragmentsArgs) -> Result<(), Failure> {
    let cursor = args.cursor.as_deref().map_or_else(|| Ok(Cursor::default()), Cursor::read)?;
    let mut interrupts = Interrupts::new()?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / args.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut follower = Follower {
        asker: Asker { session, args, pace: Mutex::new(pace), brokers: Brokers::default(), round: 0 },
        teller: Teller {
            args,
            saved: cursor.clone(),
            cursor,
            heads: BTreeMap::new(),
            silenced: BTreeSet::new(),
        },
    };
    let poll = args.poll.to_std().unwrap_or_default();
    loop {
        let began = Instant::now();
        let goes_on = tokio::select! {
            goes_on = follower.round() => goes_on?,
            () = interrupts.next() => break,
        };
        follower.teller.save()?;
        if goes_on {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep_until(began + poll) => {}
            () = interrupts.next() => break,
        }
    }
    follower.teller.save()
}

/// What a journal answered.
struct Answer {
    name: String,
    fragments: Vec<Listed>,
    /// Where the journal ends, if its primary was asked.
    head: Option<i64>,
}

struct Follower<'a> {
    asker: Asker<'a>,
    teller: Teller<'a>,
}

/// Asks brokers.
struct Asker<'a> {
    session: &'a Session,
    args: &'a FragmentsArgs,
    pace: Mutex<Interval>,
    brokers: Brokers,
    round: u64,
}

/// Tells of what they answered, and knows what was told.
struct Teller<'a> {
    args: &'a FragmentsArgs,
    cursor: Cursor,
    saved: Cursor,
    /// Where journals ended when they were first judged for the time that is to be completed next, and when that was.
    heads: BTreeMap<String, (i64, i64)>,
    /// What was warned of already, so that a broker that is away for an hour is one line.
    silenced: BTreeSet<String>,
}

impl Follower<'_> {
    /// Asks all journals once. Says whether the next round is to follow at once.
    async fn round(&mut self) -> Result<bool, Failure> {
        let Self { asker, teller } = self;
        let listing = match asker.session.client.list(asker.args.select.selector.clone()).await {
            Ok(listing) => listing,
            // A broker that was never there is told at once; one that restarts is waited for.
            Err(error) if asker.round == 0 => {
                return Err(asker.session.failure("cannot list the journals", &error));
            }
            Err(error) => {
                teller.warn("", &asker.session.explain("cannot list the journals", &error));
                return Ok(false);
            }
        };
        teller.silenced.remove("");
        let etcd = listing.header.etcd.unwrap_or_default();
        let due = teller.due();
        let (suspended, awake): (Vec<_>, Vec<_>) =
            listing.journals.iter().partition(|journal| is_suspended(journal));
        let mut whole = 0;
        for journal in suspended {
            match teller.untold(journal) {
                Some(reason) => teller.warn(name_of(journal), &reason),
                None => whole += 1,
            }
        }
        let polls: Vec<_> = awake
            .into_iter()
            .map(|journal| asker.poll(journal, etcd, teller.place(name_of(journal)), due.is_some()))
            .collect();
        let mut answers = futures::stream::iter(polls).buffer_unordered(AT_ONCE);
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(Some(answer)) => {
                    teller.silenced.remove(&name);
                    whole += usize::from(teller.tell(&answer, due)?);
                }
                // It is gone, and the next listing knows.
                Ok(None) => whole += 1,
                Err(reason) => teller.warn(&name, &reason),
            }
        }
        drop(answers);
        asker.round += 1;
        // Of no journals, nothing is complete: they may be yet to come.
        let all = listing.journals.len();
        let Some(end) = due.filter(|_| all > 0 && whole == all) else { return Ok(false) };
        teller.complete(end, whole)?;
        Ok(teller.due().is_some())
    }
}

impl Asker<'_> {
    /// Lists the fragments of a journal that may be news. None: there is nothing to be asked any more.
    async fn poll(
        &self,
        journal: &list_response::Journal,
        etcd: wire::header::Etcd,
        place: Option<i64>,
        is_judged: bool,
    ) -> (String, Result<Option<Answer>, String>) {
        let name = name_of(journal).to_owned();
        self.pace.lock().await.tick().await;
        let answer = tokio::time::timeout(PATIENCE, self.ask(journal, etcd, place, is_judged)).await;
        let answer = match answer {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if error.status() == Some(Status::JournalNotFound) => Ok(None),
            Ok(Err(error)) => {
                Err(self.session.explain(&format!("cannot list the fragments of {name}"), &error))
            }
            Err(_) => Err(format!("cannot list the fragments of {name}: no answer in {PATIENCE:?}")),
        };
        (name, answer)
    }

    async fn ask(
        &self,
        journal: &list_response::Journal,
        etcd: wire::header::Etcd,
        place: Option<i64>,
        is_judged: bool,
    ) -> Result<Answer, Error> {
        let name = name_of(journal);
        let mut request = request(self.args, name);
        // Which of them are news is ours to say.
        (request.begin_mod_time, request.end_mod_time) = (0, 0);
        if let Some(place) = place {
            // Fragments are hardly longer than their spec says, so that nearly all that reach across the place begin behind here.
            let length = journal
                .spec
                .as_ref()
                .and_then(|spec| spec.fragment.as_ref())
                .map_or(0, |fragment| fragment.length);
            let from = place.saturating_sub(length.saturating_mul(2)).max(0);
            request.next_page_token = if self.round.is_multiple_of(WHOLE_EVERY) { 0 } else { from };
        }
        if !is_judged {
            let pages: Vec<_> = self.session.client.fragment_pages(request).try_collect().await?;
            let fragments = pages.into_iter().flat_map(|page| page.fragments).collect();
            return Ok(Answer { name: name.to_owned(), fragments, head: None });
        }
        // Whoever else answered might not have heard yet of what the primary acknowledged.
        let route = journal.route.clone().unwrap_or_default();
        let primary = usize::try_from(route.primary).ok();
        let named = primary.and_then(|index| Some((route.members.get(index)?, route.endpoints.get(index)?)));
        let Some((id, endpoint)) = named else {
            return Err(Error::Invalid("it has no primary broker".to_owned()));
        };
        let asked = self.brokers.ask(endpoint, id, etcd, name)?;
        // The end first: it is at or before what is listed then.
        let head = asked.head().await?;
        let fragments = asked.fragments_of(request).await?;
        Ok(Answer { name: name.to_owned(), fragments, head: Some(head) })
    }
}

impl Teller<'_> {
    /// Below which offset all of a journal was told.
    fn place(&self, journal: &str) -> Option<i64> {
        self.cursor.offsets.get(journal).copied()
    }

    /// Tells what is new in an answer. Says whether all before a time that is due was told.
    fn tell(&mut self, answer: &Answer, due: Option<i64>) -> Result<bool, Failure> {
        let empty = wire::Fragment::default();
        let fragments = answer.fragments.iter().map(|listed| listed.spec.as_ref().unwrap_or(&empty));
        let spans: Vec<Span<'_>> = fragments
            .map(|fragment| Span {
                begin: fragment.begin,
                end: fragment.end,
                stored_at: if fragment.backing_store.is_empty() { 0 } else { fragment.mod_time.max(1) },
                postfix: &fragment.path_postfix,
            })
            .collect();
        let now = SystemClock.now().secs();
        let gaps_until = now.saturating_sub(seconds(self.args.gap_after));
        let place = self.place(&answer.name).or_else(|| start(&spans, self.args.from.at(now)));
        let mut advance = advance(place, &spans, gaps_until);
        let judged = answer.head.zip(due).map(|(head, time)| {
            let (head, since) = *self.heads.entry(answer.name.clone()).or_insert((head, now));
            if is_missing(&advance, head) && since <= gaps_until {
                // It was pruned, or lost. What was before we came is not told.
                advance.steps.extend(advance.place.map(|begin| Step::Gap { begin, end: head }));
                advance.place = Some(head);
            }
            is_whole(&advance, time, head)
        });
        self.print(answer, &advance)?;
        if let Some(place) = advance.place {
            self.cursor.offsets.insert(answer.name.clone(), place);
        }
        Ok(judged.unwrap_or(false))
    }

    fn print(&self, answer: &Answer, advance: &Advance<'_>) -> Result<(), Failure> {
        let mut text = String::new();
        for step in &advance.steps {
            match *step {
                Step::Fragment { index, from } => {
                    let listed = &answer.fragments[index];
                    let mut row = Row::new(listed).map_err(|invalid| {
                        Failure::failed([format!("a broker lists a fragment that is none: {invalid}")])
                    })?;
                    row.offset = Some(from);
                    text += &match self.args.format {
                        FragmentsFormat::Ndjson => rows(&[row])?,
                        _ => plain(&row),
                    };
                }
                Step::Gap { begin, end } => {
                    let line = match self.args.format {
                        FragmentsFormat::Ndjson => {
                            json!({ "gap": { "journal": answer.name, "begin": begin, "end": end } })
                                .to_string()
                        }
                        _ => format!("{}  gap: nobody holds [{begin}, {end})", answer.name),
                    };
                    text += &format!("{line}\n");
                }
            }
        }
        if text.is_empty() { Ok(()) } else { output::print(&text) }
    }

    /// The end of the time that is to be completed next, once it is over and has settled.
    fn due(&self) -> Option<i64> {
        let unit = self.args.complete?.seconds();
        let now = SystemClock.now().secs().saturating_sub(seconds(self.args.settle));
        let last = now.div_euclid(unit).saturating_mul(unit);
        let next = self.cursor.complete.map_or(last, |complete| complete.saturating_add(unit));
        (next <= last).then_some(next)
    }

    fn complete(&mut self, end: i64, journals: usize) -> Result<(), Failure> {
        let Some(unit) = self.args.complete else { return Ok(()) };
        let begin = end.saturating_sub(unit.seconds());
        let time = |seconds| moment(seconds).unwrap_or_default();
        let partition = unit.partition(&time(begin));
        self.cursor.complete = Some(end);
        self.heads.clear();
        output::print_line(&match self.args.format {
            FragmentsFormat::Ndjson => json!({
                "complete": partition, "begin": time(begin), "end": time(end), "journals": journals,
            })
            .to_string(),
            _ => format!("{partition} is complete, in {} journals", journals),
        })
    }

    /// Why a suspended journal keeps a time from being complete, if it does: what was stored last cannot be listed.
    fn untold(&self, journal: &list_response::Journal) -> Option<String> {
        let name = name_of(journal);
        let end = journal.spec.as_ref()?.suspend.as_ref()?.offset;
        let place = self.place(name)?;
        (place < end).then(|| {
            format!(
                "{name} was suspended before [{place}, {end}) was told; it is when the journal is appended to again"
            )
        })
    }

    /// Tells of a failure once for as long as it lasts.
    fn warn(&mut self, what: &str, reason: &str) {
        if self.silenced.insert(what.to_owned()) {
            tracing::warn!("{reason}; trying again");
        }
    }

    /// Saves the cursor, if it has moved. What was printed before was flushed.
    fn save(&mut self) -> Result<(), Failure> {
        if let Some(path) = self.args.cursor.as_deref().filter(|_| self.cursor != self.saved) {
            self.cursor.write(path)?;
            self.saved = self.cursor.clone();
        }
        Ok(())
    }
}

fn seconds(duration: GoDuration) -> i64 {
    duration.as_nanos() / 1_000_000_000
}

/// A row for people.
fn plain(row: &Row) -> String {
    let from = row.offset.filter(|offset| *offset > row.begin);
    let from = from.map_or_else(String::new, |offset| format!(" from {offset}"));
    let place = row.location.as_deref().unwrap_or_default();
    output::one_line(&format!("{}  [{}, {}){from}  {place}", row.journal, row.begin, row.end)) + "\n"
}
