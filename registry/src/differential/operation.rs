//! Pure: the random operations that both servers are asked to do. Few keys and few leases, so that they meet.

/// Keys that operations fall on: few, so that they meet.
const KEYS: [&str; 6] = ["a", "ab", "b", "c", "ca", "d"];
pub(super) const LEASES: i64 = 3;

/// A seeded source of choices (xorshift64*).
pub(super) struct Choices(u64);

impl Choices {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }
}

/// An operation, the same for both sides. Revisions are distances from each side's base.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put(Put),
    Get(Get),
    Delete(Delete),
    Txn(Nested),
    Grant { lease: i64, ttl: i64 },
    Revoke { lease: i64 },
    KeepAlive { lease: i64 },
    TimeToLive { lease: i64 },
    WatchFrom { from: i64, filter: u64 },
    Compact { at: i64 },
}

#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) lease: i64,
    pub(super) prev: bool,
    pub(super) ignore_value: bool,
    pub(super) ignore_lease: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) key: &'static str,
    /// No end is one key; an empty one is everything under the prefix.
    pub(super) end: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(super) struct Get {
    pub(super) span: Span,
    pub(super) at: Option<i64>,
    pub(super) limit: i64,
    pub(super) sort: Option<(u64, u64)>,
    pub(super) keys_only: bool,
    pub(super) count_only: bool,
    pub(super) min_mod: Option<i64>,
    pub(super) max_create: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Delete {
    pub(super) span: Span,
    pub(super) prev: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) key: &'static str,
    pub(super) whole_prefix: bool,
    pub(super) target: u64,
    pub(super) op: u64,
    pub(super) number: i64,
    pub(super) value: String,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Put(Put),
    Get(Get),
    Delete(Delete),
    Txn(Nested),
}

#[derive(Clone, Debug)]
pub(super) struct Nested {
    pub(super) when: Vec<Guard>,
    pub(super) then: Vec<Step>,
    pub(super) otherwise: Vec<Step>,
}

pub(super) fn choose(choices: &mut Choices, written: i64, compacted: i64) -> Operation {
    let lease = 1 + (choices.below(LEASES.unsigned_abs()).cast_signed());
    match choices.below(100) {
        0..30 => Operation::Put(put(choices)),
        30..45 => Operation::Get(get(choices, written)),
        45..55 => Operation::Delete(delete(choices)),
        55..80 => Operation::Txn(nested(choices, written, 2)),
        80..85 => Operation::Grant { lease, ttl: choices.of(&[60, 100, 3600]) },
        85..88 => Operation::Revoke { lease },
        88..91 => Operation::KeepAlive { lease },
        91..94 => Operation::TimeToLive { lease },
        94..98 => {
            // At the compacted revision itself etcd 3.4 no longer knows the deletions; we do.
            let from = 1 + choices.below(written.max(1).unsigned_abs()).cast_signed();
            let from = if from == compacted { from + 1 } else { from };
            Operation::WatchFrom { from, filter: choices.below(4) }
        }
        _ => Operation::Compact { at: compacted + choices.below(30).cast_signed() },
    }
}

fn put(choices: &mut Choices) -> Put {
    let ignore_value = choices.one_in(12);
    let ignore_lease = choices.one_in(12);
    Put {
        key: choices.of(&KEYS),
        value: if ignore_value && !choices.one_in(8) {
            String::new()
        } else {
            format!("{}", choices.below(5))
        },
        lease: if choices.one_in(4) { 1 + choices.below(LEASES.unsigned_abs()).cast_signed() } else { 0 },
        prev: choices.one_in(2),
        ignore_value,
        ignore_lease,
    }
}

fn span(choices: &mut Choices) -> Span {
    let end = match choices.below(4) {
        0 | 1 => None,
        2 => Some(""),
        _ => Some(choices.of(&KEYS)),
    };
    Span { key: choices.of(&KEYS), end }
}

fn get(choices: &mut Choices, written: i64) -> Get {
    let mut revision = |n| choices.one_in(n).then(|| choices.below(written.unsigned_abs() + 2).cast_signed());
    let (at, min_mod, max_create) = (revision(3), revision(6), revision(6));
    Get {
        span: span(choices),
        at: at.map(|at| at.max(1)),
        limit: if choices.one_in(3) { choices.below(4).cast_signed() } else { 0 },
        sort: choices.one_in(3).then(|| (choices.below(5), choices.below(3))),
        keys_only: choices.one_in(6),
        count_only: choices.one_in(6),
        min_mod: min_mod.map(|at| at.max(1)),
        max_create: max_create.map(|at| at.max(1)),
    }
}

fn delete(choices: &mut Choices) -> Delete {
    Delete { span: span(choices), prev: choices.one_in(2) }
}

fn nested(choices: &mut Choices, written: i64, depth: u32) -> Nested {
    let when = (0..choices.below(3))
        .map(|_| Guard {
            key: choices.of(&KEYS),
            whole_prefix: choices.one_in(4),
            target: choices.below(5),
            op: choices.below(4),
            number: choices.below(written.unsigned_abs() + 2).cast_signed(),
            value: format!("{}", choices.below(5)),
        })
        .collect();
    let mut steps = |count| -> Vec<Step> {
        (0..count)
            .map(|_| match choices.below(if depth > 0 { 10 } else { 8 }) {
                0..5 => Step::Put(put(choices)),
                5 | 6 => Step::Get(get(choices, written)),
                7 => Step::Delete(delete(choices)),
                _ => Step::Txn(nested(choices, written, depth - 1)),
            })
            .collect()
    };
    let (then, otherwise) = (steps(3), steps(2));
    Nested { when, then, otherwise }
}
