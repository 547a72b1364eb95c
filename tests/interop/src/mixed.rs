//! Brokers of both kinds in one cluster, three replicas of each journal: either kind as primary and as replica, asked
//! through either kind; then either kind killed while its journals are written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use courant_proto::wire::{self, CompressionCodec as Codec, Status, append_request::Suspend};
use futures::future::{join_all, try_join_all};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places};
use crate::processes::{Kind, World, until};
use crate::report::Report;
use crate::talk::{Talk, spec};

/// The codecs that a folder may hold.
pub(crate) const CODECS: [Codec; 4] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Zstandard];

const JOURNALS: usize = 12;

/// Length of a fragment.
const FRAGMENT: i64 = 4096;

const WAIT: Duration = Duration::from_secs(30);

/// What lies in each journal, as far as this run knows.
type Contents = BTreeMap<String, Vec<u8>>;

/// Runs one cluster of these kinds, each broker in a zone of its own. The first and the last kind should differ.
pub(crate) async fn run(world: &World, report: &mut Report, kinds: &[Kind]) -> Result<()> {
    let title: Vec<&str> = kinds.iter().map(|kind| &kind.name()[..1]).collect();
    let title = format!("mixed {}", title.join("+"));
    let mut cluster = Cluster::new(world, &format!("/gazette/{}", title.replace([' ', '+'], "-")));
    let names: Vec<String> = (0..JOURNALS).map(|n| format!("mixed/journal-{n:03}")).collect();
    let specs = names.iter().enumerate().map(|(n, name)| spec(name, 3, CODECS[n % CODECS.len()], FRAGMENT));
    let specs: Vec<_> = specs.collect();
    let (early, late) = specs.split_at(JOURNALS / 2);
    // The last one is the first to start: it leads, and is primary of the journals that are there already. Of the others it
    // is the one that is first by name, or all in turn, as the leader likes.
    for (n, kind) in kinds.iter().enumerate().rev() {
        cluster.add(*kind, &format!("broker-{n}"), &format!("zone-{n}"), 1024).await?;
        if n + 1 == kinds.len() {
            cluster.any()?.create(early.to_vec()).await?;
        }
    }
    cluster.any()?.create(late.to_vec()).await?;
    let places = cluster.settled().await;
    report.check(
        format!("{title}: settles"),
        places.as_ref().map(|_| ()).map_err(|error| anyhow::anyhow!("{error:#}")),
    );
    let scene = Scene { cluster, title, places: places?, contents: Contents::new() };
    scene.play(report).await
}

struct Scene<'a> {
    cluster: Cluster<'a>,
    title: String,
    places: Places,
    contents: Contents,
}

impl Scene<'_> {
    async fn play(mut self, report: &mut Report) -> Result<()> {
        let kinds: BTreeSet<Kind> = self.cluster.brokers.iter().map(|broker| broker.kind).collect();
        for &primary in &kinds {
            let led = self.led_by(primary)?;
            report.check(
                format!("{}: {} is primary of some", self.title, primary.name()),
                if led.is_empty() { Err(anyhow::anyhow!("of none: {:?}", self.places)) } else { Ok(()) },
            );
            for &via in &kinds {
                let title = self.title.clone();
                let row = |what: &str| {
                    format!("{title}: {what} through {}, primary {}", via.name(), primary.name())
                };
                let appended = self.appends(via, &led).await;
                report.check(row("appends"), appended);
                report.check(row("reads"), self.reads(via, &led).await);
                let registered = self.registers(via, &led).await;
                report.check(row("registers"), registered);
                report.check(row("offsets"), self.offsets(via, &led).await);
                report.check(row("fragments"), self.fragments(via, &led).await);
            }
            let row = format!("{}: suspends and resumes, primary {}", self.title, primary.name());
            let suspended = self.suspends(&led).await;
            report.check(row, suspended);
        }
        report.check(format!("{}: durability is refused", self.title), self.durability().await);
        if self.cluster.brokers.len() > 3 {
            for victim in kinds {
                let row = format!("{}: kill -9 of a {} primary", self.title, victim.name());
                let killed = self.kills(victim).await;
                if let Ok(outage) = &killed {
                    report.note(format!("{row}: its journals take appends again after {outage:.1?}"));
                }
                report.check(row, killed.map(|_| ()));
            }
        }
        Ok(())
    }

    /// A durability that a Gazette member could not keep is not accepted by a Courant one.
    async fn durability(&self) -> Result<()> {
        for talk in self.brokers_of(Kind::Courant)? {
            let label =
                wire::Label { name: "courant.dev/durability".into(), value: "fsync".into(), prefix: false };
            let labels = Some(wire::LabelSet { labels: vec![label] });
            let spec = wire::JournalSpec { labels, ..spec("mixed/durable", 3, Codec::None, FRAGMENT) };
            let change = wire::apply_request::Change { upsert: Some(spec), ..Default::default() };
            let answer = talk.apply(vec![change]).await;
            ensure!(answer.is_err(), "it was accepted");
        }
        Ok(())
    }

    /// The journals whose primary is of a kind.
    fn led_by(&self, kind: Kind) -> Result<Vec<String>> {
        let mut led = Vec::new();
        for (journal, slots) in &self.places {
            let primary = slots.get(&0).context("a primary")?;
            if self.cluster.kind_of(primary)? == kind {
                led.push(journal.clone());
            }
        }
        Ok(led)
    }

    fn brokers_of(&self, kind: Kind) -> Result<Vec<Talk>> {
        self.cluster.running().filter(|b| b.kind == kind).map(|b| Talk::to(&b.url())).collect()
    }

    /// Small and large appends, so that fragments roll.
    async fn appends(&mut self, via: Kind, journals: &[String]) -> Result<()> {
        for (n, talk) in self.brokers_of(via)?.iter().enumerate() {
            for journal in journals {
                let content = self.contents.entry(journal.clone()).or_default();
                for size in [1, 300, 5000] {
                    let line = format!("{journal} {n} {size} ");
                    let bytes = line.as_bytes().iter().cycle().take(size).copied().collect::<Vec<_>>();
                    let (begin, _) = talk.must_append(journal, &bytes).await?;
                    ensure!(begin == content.len() as i64, "{journal}: {begin} instead of {}", content.len());
                    content.extend(bytes);
                }
            }
        }
        Ok(())
    }

    /// Each broker of a kind tells the same content, from its own replica if it has one.
    async fn reads(&self, via: Kind, journals: &[String]) -> Result<()> {
        for talk in self.brokers_of(via)? {
            for journal in journals {
                let known = &self.contents[journal];
                let read = talk.content(journal).await?;
                ensure!(read.begin == 0, "{journal} begins at {}", read.begin);
                ensure!(
                    &read.bytes == known,
                    "{journal}: read {} bytes, of {} that were appended",
                    read.bytes.len(),
                    known.len()
                );
                let head = wire::ReadRequest { journal: journal.clone(), offset: -1, ..Default::default() };
                let head = talk.read(head).await.context("head")?;
                ensure!(head.begin == known.len() as i64, "{journal}: head {}", head.begin);
            }
        }
        Ok(())
    }

    /// Registers that one broker sets are seen by the others.
    async fn registers(&mut self, via: Kind, journals: &[String]) -> Result<()> {
        let label = |value: &str| wire::LabelSet {
            labels: vec![wire::Label { name: "author".into(), value: value.into(), prefix: false }],
        };
        let talks = self.brokers_of(via)?;
        for journal in journals {
            let request = || wire::AppendRequest { journal: journal.clone(), ..Default::default() };
            let set = wire::AppendRequest { union_registers: Some(label("a")), ..request() };
            let set = talks[0].append(set, b"set\n").await.context("set")?;
            ensure!(set.status() == Status::Ok, "set: {:?}", set.status());
            for talk in &talks {
                for (value, wanted) in [("a", Status::Ok), ("b", Status::RegisterMismatch)] {
                    let selector = wire::LabelSelector {
                        include: Some(label(value)),
                        exclude: Some(wire::LabelSet::default()),
                    };
                    let check = wire::AppendRequest { check_registers: Some(selector), ..request() };
                    let answer = talk.append(check, b"").await.context("check")?;
                    ensure!(answer.status() == wanted, "{journal}, {value}: {:?}", answer.status());
                    ensure!(answer.registers == Some(label("a")), "{journal}: {:?}", answer.registers);
                }
            }
            let unset = wire::AppendRequest { subtract_registers: Some(label("a")), ..request() };
            let unset = talks[0].append(unset, b"unset\n").await.context("unset")?;
            self.contents.entry(journal.clone()).or_default().extend(b"set\nunset\n");
            ensure!(unset.registers == Some(wire::LabelSet::default()), "unset: {:?}", unset.registers);
        }
        Ok(())
    }

    /// An explicit offset has to be the head.
    async fn offsets(&self, via: Kind, journals: &[String]) -> Result<()> {
        for talk in self.brokers_of(via)? {
            for journal in journals {
                let head = self.contents[journal].len() as i64;
                for (offset, wanted) in [(head, Status::Ok), (head + 1, Status::WrongAppendOffset)] {
                    let request =
                        wire::AppendRequest { journal: journal.clone(), offset, ..Default::default() };
                    let answer = talk.append(request, b"").await.context("append")?;
                    ensure!(answer.status() == wanted, "{journal} at {offset}: {:?}", answer.status());
                }
            }
        }
        Ok(())
    }

    /// Stored fragments of every replica's primary are listed by each broker.
    async fn fragments(&self, via: Kind, journals: &[String]) -> Result<()> {
        for talk in self.brokers_of(via)? {
            for journal in journals {
                until(&format!("stored fragments of {journal}"), WAIT, || async {
                    let request = wire::FragmentsRequest { journal: journal.clone(), ..Default::default() };
                    let answer = talk.fragments(request).await?;
                    let stored =
                        answer.fragments.iter().filter_map(|f| f.spec.as_ref()).filter(|f| f.mod_time > 0);
                    Ok((stored.count() > 0).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Suspension through one broker, resumption through another.
    async fn suspends(&mut self, journals: &[String]) -> Result<()> {
        let running: Vec<_> = self.cluster.running().map(|b| Talk::to(&b.url())).collect::<Result<_>>()?;
        for (n, journal) in journals.iter().take(2).enumerate() {
            let head = self.contents[journal].len() as i64;
            let suspend = wire::AppendRequest {
                journal: journal.clone(),
                suspend: Suspend::Now.into(),
                ..Default::default()
            };
            let answer = running[n].append(suspend, b"").await.context("suspend")?;
            ensure!(answer.status() == Status::Suspended, "suspend: {:?}", answer.status());
            self.cluster.settled().await.context("suspended")?;
            for talk in &running {
                ensure!(
                    talk.content(journal).await?.bytes.len() as i64 == head,
                    "{journal}: read while suspended"
                );
                let kept = wire::AppendRequest {
                    journal: journal.clone(),
                    suspend: Suspend::NoResume.into(),
                    ..Default::default()
                };
                // While it shrinks to one replica it may be nobody's for a moment.
                let status = until("an answer", WAIT, || async {
                    let answer = talk.append(kept.clone(), b"x").await.context("no resume")?;
                    Ok(Some(answer.status()))
                });
                let status = status.await?;
                ensure!(status == Status::Suspended, "no resume: {status:?}");
            }
            let talk = running.iter().rev().nth(n).context("another broker")?;
            let begin = until("an append that resumes", WAIT, || async {
                Ok(Some(talk.must_append(journal, b"resumed\n").await?.0))
            })
            .await?;
            ensure!(begin == head, "{journal}: resumed at {begin} instead of {head}");
            self.contents.entry(journal.clone()).or_default().extend(b"resumed\n");
        }
        self.places = self.cluster.settled().await.context("resumed")?;
        Ok(())
    }

    /// All journals are written while a primary of this kind is killed: nothing acknowledged is lost, nothing is there
    /// twice. Returns for how long its journals took no append.
    async fn kills(&mut self, kind: Kind) -> Result<Duration> {
        let victim = self.led_by(kind)?.first().cloned().context("it is primary of none")?;
        let victim = self.places[&victim][&0].clone();
        let at = self.cluster.brokers.iter().position(|b| b.id == victim).context("a broker")?;
        let others: Vec<Talk> = self
            .cluster
            .running()
            .filter(|broker| broker.id != victim)
            .map(|broker| Talk::to(&broker.url()))
            .collect::<Result<_>>()?;
        let led: BTreeSet<String> = self
            .places
            .iter()
            .filter(|(_, slots)| slots.get(&0) == Some(&victim))
            .map(|(journal, _)| journal.clone())
            .collect();

        let (stop, stopped) = watch::channel(false);
        let names: Vec<String> = self.places.keys().cloned().collect();
        let writers = names.iter().enumerate().map(|(n, journal)| {
            Writer { journal: journal.clone(), talks: others.clone(), tag: format!("{}-{n}", kind.name()) }
                .write(stopped.clone())
        });
        let broker = &mut self.cluster.brokers[at];
        let crash = async {
            sleep(Duration::from_secs(1)).await;
            let when = Instant::now();
            broker.kill().await?;
            // The lease, the allocator, the new primary, and some appends.
            sleep(Duration::from_secs(14)).await;
            drop(stop);
            anyhow::Ok(when)
        };
        let (written, when) = tokio::join!(join_all(writers), crash);
        let when = when?;
        let mut outage = Duration::ZERO;
        for written in &written {
            if led.contains(&written.journal) {
                let again = written
                    .acknowledged
                    .iter()
                    .map(|a| a.at)
                    .find(|at| *at > when + Duration::from_millis(200));
                let again =
                    again.with_context(|| format!("{} never took an append again", written.journal))?;
                outage = outage.max(again - when);
            }
        }
        let settled = self.cluster.settled().await.context("without the killed one");
        let verified = match settled {
            Ok(_) => self.verify(&written, &victim).await,
            Err(error) => Err(error),
        };
        self.cluster.brokers[at].start(self.cluster.world).await?;
        let places = self.cluster.settled().await.context("with the killed one again")?;
        verified?;
        self.verify(&written, &victim).await.context("with the killed one again")?;
        self.places = places;
        Ok(outage)
    }

    /// Every broker that had it before the victim died tells what was acknowledged, where it was acknowledged; and nothing
    /// that was not sent, or twice. A replica that is new to Gazette knows of what others have not stored yet only minutes
    /// later, and is not asked.
    async fn verify(&mut self, written: &[Written], victim: &str) -> Result<()> {
        let agreed = || async { self.verify_now(written, victim).await.map(Some) };
        until("every broker tells the same", WAIT, agreed).await?;
        for written in written {
            let holder = self.places[&written.journal].values().find(|member| *member != victim);
            let holder =
                self.cluster.running().find(|broker| Some(&broker.id) == holder).context("a holder")?;
            let now = Talk::to(&holder.url())?.content(&written.journal).await?.bytes;
            self.contents.insert(written.journal.clone(), now);
        }
        Ok(())
    }

    async fn verify_now(&self, written: &[Written], victim: &str) -> Result<()> {
        for written in written {
            let journal = &written.journal;
            let before = &self.places[journal];
            let holders = self
                .cluster
                .running()
                .filter(|broker| broker.id != victim && before.values().any(|member| *member == broker.id));
            let reads = holders.map(|broker| async move {
                let read = Talk::to(&broker.url())?.content(journal).await?;
                anyhow::Ok((broker.id.clone(), read))
            });
            let reads = try_join_all(reads).await?;
            let (_, first) = reads.first().context("a broker")?;
            for (id, read) in &reads {
                ensure!(read.begin == 0, "{journal} at {id}: begins at {}", read.begin);
                for append in &written.acknowledged {
                    let span = append.begin as usize..append.begin as usize + append.line.len();
                    ensure!(
                        read.bytes.get(span) == Some(append.line.as_bytes()),
                        "{journal} at {id}: {:?} is not at {}, where it was acknowledged",
                        append.line,
                        append.begin
                    );
                }
                ensure!(
                    read.bytes == first.bytes,
                    "{journal}: {id} tells {} bytes, others {}",
                    read.bytes.len(),
                    first.bytes.len()
                );
            }
            let before = self.contents.get(journal).map_or(0, Vec::len);
            let text = String::from_utf8_lossy(&first.bytes[before.min(first.bytes.len())..]);
            let mut seen = BTreeSet::new();
            for line in text.split_inclusive('\n') {
                ensure!(written.sent.contains(line), "{journal}: {line:?} was never sent");
                ensure!(seen.insert(line.to_owned()), "{journal}: {line:?} is there twice");
            }
        }
        Ok(())
    }
}

/// Writes numbered lines, each in one append that is not repeated.
struct Writer {
    journal: String,
    talks: Vec<Talk>,
    tag: String,
}

struct Written {
    journal: String,
    sent: BTreeSet<String>,
    acknowledged: Vec<Acknowledged>,
}

struct Acknowledged {
    line: String,
    begin: i64,
    at: Instant,
}

impl Writer {
    async fn write(self, mut stopped: watch::Receiver<bool>) -> Written {
        let mut written =
            Written { journal: self.journal.clone(), sent: BTreeSet::new(), acknowledged: Vec::new() };
        let mut n = 0_usize;
        loop {
            let line = format!("{} {n} {}\n", self.tag, ".".repeat(n % 50));
            written.sent.insert(line.clone());
            let answer = self.talks[n % self.talks.len()].must_append(&self.journal, line.as_bytes()).await;
            if let Ok((begin, _)) = answer {
                written.acknowledged.push(Acknowledged { line, begin, at: Instant::now() });
            }
            n += 1;
            tokio::select! {
                _ = stopped.changed() => return written,
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
    }
}

/// Refuses what is no cluster of three replicas.
pub(crate) fn parse(kinds: &str) -> Result<Vec<Kind>> {
    kinds
        .chars()
        .map(|kind| match kind {
            'g' => Ok(Kind::Gazette),
            'c' => Ok(Kind::Courant),
            other => bail!("{other}: expected g or c"),
        })
        .collect()
}
