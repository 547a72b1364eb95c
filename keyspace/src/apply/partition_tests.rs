//! However a stream of events is cut into responses, and whatever of it is repeated, the snapshot is the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{Text, header};
use super::*;

/// A write of a simulated store; keys and values are few so that histories are eventful.
#[derive(Debug, Clone)]
enum Write {
    Put(u8, Option<u8>),
    Delete(u8),
    /// A revision that touches nothing under the prefix.
    Elsewhere,
}

fn transactions() -> impl Strategy<Value = Vec<Vec<Write>>> {
    let write = prop_oneof![
        6 => (0..6_u8, prop::option::weighted(0.8, any::<u8>())).prop_map(|(key, value)| Write::Put(key, value)),
        2 => (0..6_u8).prop_map(Write::Delete),
        1 => Just(Write::Elsewhere),
    ];
    vec(vec(write, 1..5), 1..25)
}

#[derive(Debug, Default, Clone)]
struct Store {
    revision: i64,
    keys: BTreeMap<Vec<u8>, KeyValue>,
}

impl Store {
    /// Applies one transaction as etcd would, each key at most once, and returns its events.
    fn transact(&mut self, writes: &[Write]) -> Vec<Event> {
        self.revision += 1;
        let at = Revision::new(self.revision);
        let mut events: Vec<Event> = Vec::new();
        for write in writes {
            let (key, value) = match write {
                Write::Put(key, value) => (vec![b'k', *key], Some(value)),
                Write::Delete(key) => (vec![b'k', *key], None),
                Write::Elsewhere => continue,
            };
            if events.iter().any(|event| event.key() == key) {
                continue;
            }
            if let Some(value) = value {
                let value = value.map_or_else(|| b"bad".to_vec(), |value| format!("v{value}").into_bytes());
                let old = self.keys.get(&key);
                let kv = KeyValue {
                    key: key.clone(),
                    value,
                    create_revision: old.map_or(at, |old| old.create_revision),
                    mod_revision: at,
                    version: old.map_or(1, |old| old.version + 1),
                    lease: 0,
                };
                self.keys.insert(key, kv.clone());
                events.push(Event::Put(kv));
            } else if self.keys.remove(&key).is_some() {
                events.push(Event::Delete { key, mod_revision: at });
            }
        }
        events
    }
}

/// How the stream reaches the mirror, step by step; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Delivery {
    /// The next events, whether they end a revision or not, with a header at least at the last of them.
    Next { count: usize, header_ahead: i64 },
    /// An earlier run of events again, whose header is as old as they are, or as new as anything.
    Again { from: usize, count: usize, old_header: bool },
    /// A watch that was broken off and takes up where the snapshot says.
    Resume,
    /// News that there are none.
    Progress,
}

fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
    let delivery = prop_oneof![
        5 => (1..6_usize, 0..9_i64).prop_map(|(count, header_ahead)| Delivery::Next { count, header_ahead }),
        2 => (any::<usize>(), 1..6_usize, any::<bool>())
            .prop_map(|(from, count, old_header)| Delivery::Again { from, count, old_header }),
        1 => Just(Delivery::Resume),
        1 => Just(Delivery::Progress),
    ];
    vec(delivery, 0..60)
}

#[derive(Debug, PartialEq)]
struct Picture {
    entries: Vec<Entry<String>>,
    set_aside: Vec<SetAside>,
    revision: Revision,
}

fn picture(snapshot: &Snapshot<String>) -> Picture {
    Picture {
        entries: snapshot.all().iter().map(|entry| Entry::clone(entry)).collect(),
        set_aside: snapshot.set_aside().cloned().collect(),
        revision: snapshot.revision(),
    }
}

fn told(events: &[Event], revision: i64) -> Response {
    Response { header: header(revision), created: false, events: events.to_vec() }
}

fn last_revision(events: &[Event]) -> i64 {
    events.last().map_or(0, |event| event.mod_revision().get())
}

/// Plays the deliveries, `per_batch` of them applied together, then whatever was not delivered.
/// Returns the snapshot and how many batches asked for the prefix to be read again.
fn play(
    start: &Snapshot<String>,
    events: &[Event],
    deliveries: &[Delivery],
    per_batch: usize,
) -> (Snapshot<String>, usize) {
    let mut snapshot = start.clone();
    let (mut sent, mut troubles) = (0, 0);
    // The newest the store has told of, also to a watch that has since been broken off.
    let mut newest = start.revision().get();
    let apply_all =
        |snapshot: &mut Snapshot<String>, batch: Vec<Response>| match apply(snapshot, &Text, batch) {
            Ok(applied) => {
                assert!(!applied.oddities.iter().any(Oddity::is_gap), "{:?}", applied.oddities);
                *snapshot = applied.snapshot;
                0
            }
            Err(_) => 1,
        };
    for deliveries in deliveries.chunks(per_batch) {
        let (mut batch, first_of_batch) = (Vec::new(), sent);
        for delivery in deliveries {
            match delivery {
                Delivery::Next { count, header_ahead } => {
                    let next = &events[sent..(sent + count).min(events.len())];
                    sent += next.len();
                    newest = newest.max(last_revision(next));
                    if !next.is_empty() {
                        batch.push(told(next, last_revision(next) + header_ahead));
                    }
                }
                Delivery::Again { from, count, old_header } if sent > 0 => {
                    let from = from % sent;
                    let again = &events[from..(from + count).min(sent)];
                    batch.push(told(again, if *old_header { last_revision(again) } else { newest }));
                }
                Delivery::Again { .. } => {}
                Delivery::Resume => {
                    troubles += apply_all(&mut snapshot, std::mem::take(&mut batch));
                    let from = snapshot.resume_at();
                    sent = events.partition_point(|event| event.mod_revision() < from);
                }
                // Only said when nothing is on its way: neither within this revision nor before it.
                Delivery::Progress => {
                    if events.get(sent).is_none_or(|next| next.mod_revision().get() > newest) {
                        batch.push(told(&[], newest));
                    }
                }
            }
        }
        let troubled = apply_all(&mut snapshot, batch);
        troubles += troubled;
        // A batch that was refused is told again by the watch that follows.
        if troubled > 0 {
            let from = snapshot.resume_at();
            sent = events.partition_point(|event| event.mod_revision() < from).min(first_of_batch);
        }
    }
    troubles += apply_all(&mut snapshot, vec![told(&events[sent..], last_revision(events))]);
    (snapshot, troubles)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_partition_gives_the_same_snapshot(
        before in transactions(),
        after in transactions(),
        deliveries in deliveries(),
        per_batch in 1..5_usize,
    ) {
        let mut store = Store::default();
        before.iter().for_each(|writes| drop(store.transact(writes)));
        let start = Snapshot::loaded(header(store.revision), store.keys.values().cloned(), &Text);
        let responses: Vec<Vec<Event>> = after.iter().map(|writes| store.transact(writes)).collect();
        let events: Vec<Event> = responses.iter().flatten().cloned().collect();
        prop_assume!(!events.is_empty());

        let mut direct = start.clone();
        for response in responses.iter().filter(|events| !events.is_empty()) {
            let applied = apply(&direct, &Text, [told(response, last_revision(response))]).unwrap();
            let odd = applied.oddities.iter().filter(|oddity| !matches!(oddity, Oddity::Undecodable { .. }));
            prop_assert_eq!(odd.count(), 0);
            direct = applied.snapshot;
        }
        // Good values are those of the store, but for keys whose last good value stands in for a bad update.
        for kv in store.keys.values().filter(|kv| !kv.value.starts_with(b"bad")) {
            let entry = direct.get(&kv.key).unwrap();
            prop_assert_eq!((entry.value.as_bytes(), entry.mod_revision), (&*kv.value, kv.mod_revision));
        }
        let refused = store.keys.values().filter(|kv| kv.value.starts_with(b"bad")).count();
        prop_assert_eq!(direct.set_aside().len(), refused);
        prop_assert_eq!(direct.key_count(), store.keys.len());

        // Cut anywhere and broken off anywhere: the prefix need never be read again.
        let cuts: Vec<_> =
            deliveries.iter().filter(|delivery| !matches!(delivery, Delivery::Again { .. })).cloned().collect();
        let (cut, troubles) = play(&start, &events, &cuts, per_batch);
        prop_assert_eq!(troubles, 0);
        prop_assert_eq!(picture(&cut), picture(&direct));

        // Repeated as well: the same picture, unless the snapshot could not tell a repetition from a loss and said so.
        let (repeated, troubles) = play(&start, &events, &deliveries, per_batch);
        prop_assert!(troubles > 0 || picture(&repeated) == picture(&direct));
        if !events.iter().any(|event| matches!(event, Event::Delete { .. })) {
            prop_assert_eq!(troubles, 0);
        }
    }

    #[test]
    fn responses_out_of_order_are_never_silently_wrong(
        before in transactions(),
        after in transactions(),
        swaps in vec((any::<usize>(), any::<usize>()), 0..4),
    ) {
        let mut store = Store::default();
        before.iter().for_each(|writes| drop(store.transact(writes)));
        let start = Snapshot::loaded(header(store.revision), store.keys.values().cloned(), &Text);
        let mut responses: Vec<Vec<Event>> =
            after.iter().map(|writes| store.transact(writes)).filter(|events| !events.is_empty()).collect();
        let direct = apply(&start, &Text, responses.iter().map(|events| told(events, last_revision(events))));
        let direct = picture(&direct.unwrap().snapshot);
        prop_assume!(!responses.is_empty());
        for (a, b) in swaps {
            let count = responses.len();
            responses.swap(a % count, b % count);
        }
        let mut snapshot = start;
        for events in &responses {
            match apply(&snapshot, &Text, [told(events, store.revision)]) {
                Err(_) => return Ok(()),
                Ok(applied) if applied.oddities.iter().any(Oddity::is_gap) => return Ok(()),
                Ok(applied) => snapshot = applied.snapshot,
            }
        }
        prop_assert_eq!(picture(&snapshot), direct);
    }
}
