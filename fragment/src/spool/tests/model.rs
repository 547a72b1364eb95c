//! Random histories: turns that are written, dropped or fail, segments that fill up, processes that are killed
//! between turns and within them. After each step the log holds what the model does, to the byte.

use proptest::prelude::*;

use super::*;

const JOURNALS: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    /// With registers, if the number is not zero.
    Commit {
        length: usize,
        registers: u64,
    },
    Roll {
        jump: u64,
    },
    Release,
    Forget,
}

#[derive(Clone, Debug)]
enum Fate {
    Written,
    Dropped,
    /// A write fails, the one after so many; and cutting back as well.
    Fails {
        after: u64,
        torn: bool,
        truncate: bool,
    },
    /// The process is killed when this part of the turn's bytes, in 256ths, is in the segment.
    Killed {
        part: u64,
        cores: usize,
    },
}

#[derive(Clone, Debug)]
enum Step {
    Turn(Vec<(usize, Op)>, Fate),
    Sweep,
    Kill { cores: usize },
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Journal {
    /// All bytes from offset zero; where it jumped, zeros.
    bytes: Vec<u8>,
    /// The open spool's begin, unless the journal is not held.
    open: Option<u64>,
    /// Spans of complete spools.
    complete: Vec<(u64, u64)>,
    registers: Registers,
}

/// What can be seen of a journal: spans with content, the head, the registers at the head.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    spans: Vec<(u64, u64)>,
    head: Option<(u64, Registers)>,
}

impl Journal {
    fn head(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn seen(&self) -> Seen {
        let mut spans = self.complete.clone();
        spans.extend(self.open.map(|begin| (begin, self.head())).filter(|(begin, end)| begin < end));
        Seen { spans, head: self.open.map(|_| (self.head(), self.registers.clone())) }
    }

    fn close(&mut self) {
        let head = self.head();
        self.complete.extend(self.open.take().map(|begin| (begin, head)).filter(|(begin, end)| begin < end));
    }
}

/// A process, and what it should know.
struct World {
    disk: MemoryDisk,
    layout: Layout,
    logs: Vec<SpoolLog>,
    /// The spools of each journal: the open one, and the complete.
    open: Vec<Option<SpoolId>>,
    complete: Vec<Vec<SpoolId>>,
    model: Vec<Journal>,
    /// Content that readers hold of spools that were released.
    held: Vec<(Arc<Content>, Vec<u8>)>,
    /// What a kill may bring back of turns that failed and could not be cut back either, as long as their core
    /// writes nothing more.
    doubtful: Vec<Vec<Journal>>,
    seed: u64,
}

impl World {
    fn new(cores: usize) -> Self {
        let disk = MemoryDisk::new();
        let mut world = Self {
            disk,
            layout: small(),
            logs: Vec::new(),
            open: vec![None; JOURNALS],
            complete: vec![Vec::new(); JOURNALS],
            model: vec![Journal::default(); JOURNALS],
            held: Vec::new(),
            doubtful: vec![Vec::new(); JOURNALS],
            seed: 1,
        };
        world.start(cores, &world.model.iter().map(|journal| vec![journal.clone()]).collect::<Vec<_>>());
        world
    }

    /// Starts a process that must find one of the states given for each journal.
    fn start(&mut self, cores: usize, possible: &[Vec<Journal>]) {
        let doubtful = std::mem::replace(&mut self.doubtful, vec![Vec::new(); JOURNALS]);
        let possible: Vec<Vec<Journal>> =
            possible.iter().zip(doubtful).map(|(some, more)| [some.clone(), more].concat()).collect();
        self.layout.seed += 1;
        let recovery = find(&self.disk, self.layout);
        assert_eq!(recovery.lost, []);
        assert!(recovery.torn.iter().all(|torn| torn.clean), "{:?}", recovery.torn);
        // Content of spools whose turn was not written is in files that no record names.
        assert!(recovery.quarantined.iter().all(|path| path.extension() == Some("content".as_ref())));
        self.logs = (0..cores).map(|core| SpoolLog::new(Arc::clone(&recovery.volume), core as u32)).collect();
        self.open = vec![None; JOURNALS];
        self.complete = vec![Vec::new(); JOURNALS];
        self.held.clear();
        let mut found: BTreeMap<_, _> = recovery
            .journals
            .into_iter()
            .map(|journal| (journal.identity.journal.clone(), journal))
            .collect();
        for (journal, possible) in possible.iter().enumerate() {
            let mut seen = Seen { spans: Vec::new(), head: None };
            if let Some(recovered) = found.remove(&name(journal)) {
                assert_eq!(recovered.damage, []);
                assert!(recovered.certain);
                if let Some(open) = &recovered.open {
                    assert_eq!(open.end(), recovered.head);
                    assert_eq!(open.registers(), &recovered.registers);
                    seen.head = Some((recovered.head.get().cast_unsigned(), recovered.registers.clone()));
                }
                let adopted = self.logs[journal % cores].adopt(recovered);
                self.open[journal] = adopted.open;
                self.complete[journal] = adopted.complete;
            }
            seen.spans = self.spans(journal);
            let state = possible.iter().find(|state| state.seen() == seen);
            let Some(state) = state else {
                panic!(
                    "journal {journal} is {seen:?}, and may be {:?}",
                    possible.iter().map(Journal::seen).collect::<Vec<_>>()
                )
            };
            self.model[journal] = state.clone();
            // A roll may have been torn between its two records; then an empty spool was opened at the head.
            if let Some(open) = self.open[journal] {
                let log = &self.logs[journal % cores];
                let begin = log.spool(open).expect("adopted").begin().get().cast_unsigned();
                if self.model[journal].open != Some(begin) {
                    self.model[journal].close();
                    self.model[journal].open = Some(begin);
                }
            }
        }
        assert!(found.is_empty(), "nothing else was ever there: {found:?}");
    }

    fn spools(&self, journal: usize) -> impl Iterator<Item = &Spool> {
        let log = &self.logs[journal % self.logs.len()];
        let ids = self.complete[journal].iter().chain(&self.open[journal]);
        ids.map(|id| log.spool(*id).expect("a spool of the log"))
    }

    fn spans(&self, journal: usize) -> Vec<(u64, u64)> {
        let spools = self.spools(journal).filter(|spool| spool.length() > 0);
        spools.map(|spool| (spool.begin().get().cast_unsigned(), spool.end().get().cast_unsigned())).collect()
    }

    /// Everything is as in the model.
    fn check(&self) {
        for (journal, model) in self.model.iter().enumerate() {
            assert_eq!(self.spans(journal), model.seen().spans);
            for spool in self.spools(journal) {
                let bytes = &model.bytes[spool.begin().get() as usize..spool.end().get() as usize];
                assert!(read(spool.content()).expect("readable") == bytes, "journal {journal} has its bytes");
                assert_eq!(spool.sum().0, sum(bytes));
                assert_eq!(spool.is_complete(), Some(spool.id()) != self.open[journal]);
                assert_eq!(spool.first_append().is_some(), !bytes.is_empty());
                assert_eq!(spool.content().length(), bytes.len() as u64);
            }
            if let Some(open) = self.open[journal] {
                let open = self.logs[journal % self.logs.len()].spool(open).expect("open");
                assert_eq!(open.registers(), &model.registers);
                assert_eq!(open.end().get().cast_unsigned(), model.head());
            }
        }
        for log in &self.logs {
            assert_eq!(log.held_bytes(), log.spools().map(crate::spool::Spool::length).sum::<u64>());
        }
        for (content, bytes) in &self.held {
            assert!(read(content).expect("readable") == *bytes, "who holds released content still reads it");
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Sweep => self.logs[0].volume().sweep().expect("swept"),
            Step::Kill { cores } => {
                self.disk = self.disk.crash(crate::disk::memory::Crash::Process);
                let states: Vec<_> = self.model.iter().map(|journal| vec![journal.clone()]).collect();
                self.start(*cores, &states);
            }
            Step::Turn(ops, fate) => {
                for core in 0..self.logs.len() {
                    let cores = self.logs.len();
                    let ops: Vec<_> =
                        ops.iter().filter(|(journal, _)| journal % cores == core).cloned().collect();
                    self.turn(core, &ops, fate);
                    if matches!(fate, Fate::Killed { .. }) {
                        break;
                    }
                }
            }
        }
        self.check();
    }

    fn turn(&mut self, core: usize, ops: &[(usize, Op)], fate: &Fate) {
        if let Fate::Fails { after, torn, truncate } = fate {
            self.disk.fail_writes(*after, 1, std::io::ErrorKind::StorageFull, *torn);
            self.disk.fail_truncate(truncate.then_some(std::io::ErrorKind::Other));
        }
        let before: BTreeMap<PathBuf, usize> = self.lengths();
        let aside = SpoolLog::new(Arc::clone(self.logs[core].volume()), core as u32);
        let mut log = std::mem::replace(&mut self.logs[core], aside);
        let mut open = self.open.clone();
        let mut complete = self.complete.clone();
        let mut states: Vec<Vec<Journal>> = self.model.iter().map(|journal| vec![journal.clone()]).collect();
        let mut held = Vec::new();
        let mut turn = log.turn();
        for (journal, op) in ops {
            let journal = *journal;
            let mut state = states[journal].last().expect("a state").clone();
            self.seed += 1;
            let done = match op {
                Op::Commit { length, registers: value } => {
                    let id = match open[journal] {
                        Some(id) => Ok(id),
                        None => {
                            let begin = state.head();
                            turn.open(opening(journal, 1, begin, registers(9))).inspect(|_| {
                                state.open = Some(begin);
                                state.registers = registers(9);
                                states[journal].push(state.clone());
                            })
                        }
                    };
                    id.and_then(|id| {
                        open[journal] = Some(id);
                        let bytes = content(self.seed, *length);
                        let chunks: Vec<Bytes> = bytes.chunks(5000).map(Bytes::copy_from_slice).collect();
                        let changed = (*value > 0 && *length > 0).then(|| registers(*value));
                        let commit = Commit {
                            registers: changed.as_ref(),
                            durable: length % 2 == 0,
                            ..Commit::new(Source::Memory(&chunks), now())
                        };
                        let grown = turn.commit(id, commit)?;
                        assert_eq!(grown.begin.get().cast_unsigned(), state.head());
                        state.bytes.extend_from_slice(&bytes);
                        assert_eq!(grown.end.get().cast_unsigned(), state.head());
                        state.registers = changed.unwrap_or(state.registers.clone());
                        Ok(())
                    })
                }
                Op::Roll { jump } => match open[journal] {
                    None => continue,
                    Some(id) => {
                        let begin = state.head() + jump;
                        let next = opening(journal, 2, begin, state.registers.clone());
                        turn.roll(id, next).map(|rolled| {
                            state.close();
                            state.bytes.resize(begin as usize, 0);
                            state.open = Some(begin);
                            open[journal] = Some(rolled.opened);
                            complete[journal].extend(rolled.completed);
                        })
                    }
                },
                Op::Release => match complete[journal].first().copied() {
                    None => continue,
                    Some(id) => {
                        let spool = turn.spool(id).expect("complete").content().clone();
                        turn.release(id).map(|()| {
                            let (begin, end) = state.complete.remove(0);
                            held.push((spool, state.bytes[begin as usize..end as usize].to_vec()));
                            complete[journal].remove(0);
                        })
                    }
                },
                Op::Forget => match open[journal] {
                    None => continue,
                    Some(id) => turn.forget(id).map(|completed| {
                        state.close();
                        open[journal] = None;
                        complete[journal].extend(completed);
                    }),
                },
            };
            match done {
                Ok(()) => states[journal].push(state),
                Err(error) => assert!(matches!(fate, Fate::Fails { .. }), "{error}"),
            }
        }
        let written = match fate {
            Fate::Dropped => {
                drop(turn);
                false
            }
            _ => match turn.write() {
                Ok(written) => {
                    if written.bytes > 0 {
                        let cores = self.logs.len();
                        for journal in (core..JOURNALS).step_by(cores) {
                            self.doubtful[journal].clear();
                        }
                    }
                    true
                }
                Err(error) => {
                    assert!(matches!(fate, Fate::Fails { .. }) && error.is_out_of_space(), "{error}");
                    if matches!(fate, Fate::Fails { truncate: true, .. }) {
                        for journal in (core..JOURNALS).step_by(self.logs.len()) {
                            self.doubtful[journal] = states[journal].clone();
                        }
                    }
                    false
                }
            },
        };
        self.logs[core] = log;
        self.disk.heal();
        if let Fate::Killed { part, cores } = fate {
            self.disk = self.disk.crash(crate::disk::memory::Crash::Process);
            self.tear(&before, *part);
            self.start(*cores, &states);
            return;
        }
        if written {
            self.model = states.into_iter().map(|mut states| states.pop().expect("a state")).collect();
            self.open = open;
            self.complete = complete;
            // A spool of a turn that both filled and released it never was in any file under a name of its own.
            self.held
                .extend(held.into_iter().filter(|(content, bytes)| content.length() == bytes.len() as u64));
        }
    }

    fn lengths(&self) -> BTreeMap<PathBuf, usize> {
        let paths = self.disk.paths().into_iter();
        paths.map(|path| (path.clone(), self.disk.bytes(&path).expect("a file").len())).collect()
    }

    /// Cuts the segment that the last turn wrote, somewhere in what it wrote.
    fn tear(&self, before: &BTreeMap<PathBuf, usize>, part: u64) {
        for path in self.disk.paths().into_iter().filter(|path| path.extension() == Some("log".as_ref())) {
            self.disk.damage(&path, |bytes| {
                let from = before.get(&path).copied().unwrap_or(0).min(bytes.len());
                let keep = from + (bytes.len() - from) * part as usize / 256;
                bytes.truncate(keep);
            });
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (prop_oneof![3 => 1..300usize, 1 => 0..1usize, 1 => 1000..9000usize, 1 => 60_000..80_000usize], 0..3u64)
            .prop_map(|(length, registers)| Op::Commit { length, registers }),
        2 => prop_oneof![Just(0), 1..50u64].prop_map(|jump| Op::Roll { jump }),
        2 => Just(Op::Release),
        1 => Just(Op::Forget),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Written),
        1 => Just(Fate::Dropped),
        2 => (0..4u64, any::<bool>(), any::<bool>())
            .prop_map(|(after, torn, truncate)| Fate::Fails { after, torn, truncate }),
        2 => (0..=256u64, 1..4usize).prop_map(|(part, cores)| Fate::Killed { part, cores }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (prop::collection::vec((0..JOURNALS, op()), 0..6), fate()).prop_map(|(ops, fate)| Step::Turn(ops, fate)),
        1 => Just(Step::Sweep),
        1 => (1..4usize).prop_map(|cores| Step::Kill { cores }),
    ]
}

/// The frames of a refused turn lie in the segment as long as that cannot be cut back, and a process that dies then finds them. What they
/// name is still there: otherwise bytes that nobody wrote would count as damaged.
#[test]
fn what_cannot_be_cut_back_keeps_its_content_files() {
    let mut world = World::new(1);
    let fate = Fate::Fails { after: 2, torn: true, truncate: true };
    let commit = |journal| (journal, Op::Commit { length: 2048, registers: 0 });
    for step in [Step::Turn(vec![commit(0), commit(2)], fate), Step::Sweep, Step::Kill { cores: 2 }] {
        world.step(&step);
    }
    // Where it was cut back they go.
    let fate = Fate::Fails { after: 2, torn: true, truncate: false };
    let before = world.disk.paths().len();
    for step in [Step::Turn(vec![commit(1), commit(3)], fate), Step::Sweep] {
        world.step(&step);
    }
    assert!(world.disk.paths().len() <= before + 1, "a segment, and no content file");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_was_written_to_it(
        cores in 1..4usize,
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut world = World::new(cores);
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Kill { cores: 2 });
    }
}
