//! Brings together what brokers and stores have of one journal. The order of questions matters where appends go on: brokers say what
//! they hold, stores what they have, and only then brokers where the journal ends, the primary last of all. So whatever is seen
//! behind an end was there before the end was asked for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use courant_client::Error;
use courant_fragment::store::{Store, Stores};
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::store::StoreUrl;
use courant_proto::wire::{self, list_response};
use futures::StreamExt as _;
use futures::stream;

use super::ask::{Asked, Brokers};
use super::cuts::{Cutter, Reading};
use super::judge::{Evidence, Extent, Holder, Told};
use crate::journals::{is_suspended, name_of};

/// Objects of one store that are read at a time.
const READ_AT_ONCE: usize = 4;
/// A follower that hears of commits a little late is asked so often ...
const HEAD_TRIES: u32 = 10;
/// ... after so long each time.
const HEAD_PAUSE: Duration = Duration::from_millis(300);

/// Where content is looked for.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) brokers: Brokers,
    /// None: stored content is read through brokers.
    pub(super) stores: Option<Stores>,
    /// Whether content is read at all.
    pub(super) content: bool,
}

/// A member of the route with its answers.
struct Member {
    name: String,
    is_primary: bool,
    asked: Asked,
    fragments: Vec<wire::Fragment>,
}

/// Looks at a journal. `nested` are the journals whose folders lie in its own.
pub(super) async fn gather(
    places: &Places,
    journal: &list_response::Journal,
    nested: &[JournalName],
    etcd: wire::header::Etcd,
) -> Evidence {
    let mut evidence = Evidence::default();
    let members = members(places, journal, etcd, &mut evidence).await;
    let mut stored = stored(places, journal, nested, &mut evidence).await;
    if places.stores.is_none() {
        stored.extend(through_brokers(&members));
    }
    let store_end = stored.iter().flat_map(|stored| &stored.extents).map(|extent| extent.end).max();
    let mut heads = Vec::with_capacity(members.len());
    for member in &members {
        let head = head(&member.asked, store_end.unwrap_or(0)).await;
        let head = head.map_err(|error| {
            evidence.unknown.push(format!("{} does not tell its write head: {error}", member.name));
        });
        heads.push(head.ok());
    }
    let mut held: Vec<Vec<Extent>> = members.iter().map(|member| local_extents(&member.fragments)).collect();

    let all = || held.iter().chain(stored.iter().map(|stored| &stored.extents)).flatten();
    let cuts: BTreeSet<i64> = all().flat_map(|extent| [extent.begin, extent.end]).collect();
    let cuts: Vec<i64> = cuts.into_iter().collect();
    if places.content {
        let cuts = &cuts;
        let local = members.iter().zip(&mut held).map(async |(member, extents)| {
            for extent in extents {
                keep(extent, member.asked.read(extent.begin, extent.end, cuts).await);
            }
        });
        let objects = stored.iter_mut().map(async |stored| stored.read(cuts).await);
        futures::join!(futures::future::join_all(local), futures::future::join_all(objects));
    }

    let brokers = members.into_iter().zip(heads).zip(held).map(|((member, head), extents)| {
        let in_store = member.fragments.iter().filter(|fragment| !fragment.backing_store.is_empty());
        let told =
            in_store.map(|fragment| (fragment.begin, fragment.end, name_of_stored(fragment))).collect();
        let told = Told { is_primary: member.is_primary, head, stored: told };
        Holder { name: member.name, broker: Some(told), extents }
    });
    evidence.holders = brokers.collect();
    evidence.holders.extend(stored.into_iter().map(|stored| Holder {
        name: stored.name,
        broker: None,
        extents: stored.extents,
    }));
    evidence
}

/// The members of the route that answer, the primary behind the others.
async fn members(
    places: &Places,
    journal: &list_response::Journal,
    etcd: wire::header::Etcd,
    evidence: &mut Evidence,
) -> Vec<Member> {
    let route = journal.route.clone().unwrap_or_default();
    if route.members.is_empty() && !is_suspended(journal) {
        evidence.unknown.push("no broker is assigned to it".to_owned());
    }
    let primary = usize::try_from(route.primary).ok();
    let mut order: Vec<usize> = (0..route.members.len()).collect();
    order.sort_by_key(|index| Some(*index) == primary);
    let mut members = Vec::new();
    for index in order {
        let id = &route.members[index];
        let name = id.suffix.clone();
        let endpoint = route.endpoints.get(index).map_or("", String::as_str);
        let answer = async {
            if endpoint.is_empty() {
                return Err(Error::Invalid("it is no member of the cluster any more".to_owned()));
            }
            let asked = places.brokers.ask(endpoint, id, etcd, name_of(journal))?;
            let fragments = asked.fragments().await?;
            Ok((asked, fragments))
        };
        match answer.await {
            Ok((asked, fragments)) => {
                members.push(Member { name, is_primary: Some(index) == primary, asked, fragments });
            }
            Err(error) => evidence.unknown.push(format!("{name} at {endpoint} cannot be asked: {error}")),
        }
    }
    members
}

/// Asks for the end of the journal; again, where it is before what a store has.
async fn head(asked: &Asked, store_end: i64) -> Result<i64, Error> {
    let mut tries = 1;
    loop {
        let head = asked.head().await?;
        if head >= store_end || tries >= HEAD_TRIES {
            return Ok(head);
        }
        tries += 1;
        tokio::time::sleep(HEAD_PAUSE).await;
    }
}

/// What a broker holds itself.
fn local_extents(fragments: &[wire::Fragment]) -> Vec<Extent> {
    fragments
        .iter()
        .filter(|fragment| fragment.backing_store.is_empty() && fragment.begin < fragment.end)
        .map(|fragment| Extent {
            begin: fragment.begin,
            end: fragment.end,
            promised: fragment.sum.map(ContentSum::from).filter(|sum| !sum.is_zero()),
            ..Extent::default()
        })
        .collect()
}

/// A store's part of a journal, and the way to its content.
struct Stored {
    name: String,
    extents: Vec<Extent>,
    /// For each of them.
    ways: Vec<Way>,
}

/// How the content of an object is had.
enum Way {
    Store(Arc<Store>, Fragment),
    Broker(Asked),
}

impl Stored {
    async fn read(&mut self, cuts: &[i64]) {
        let reads = self.extents.iter_mut().zip(&self.ways).map(async |(extent, way)| {
            let reading = match way {
                Way::Store(store, fragment) => read_object(store, fragment, cuts).await,
                Way::Broker(asked) => asked.read(extent.begin, extent.end, cuts).await,
            };
            keep(extent, reading);
        });
        stream::iter(reads).buffer_unordered(READ_AT_ONCE).collect::<()>().await;
    }
}

fn keep(extent: &mut Extent, reading: Result<Reading, String>) {
    match reading {
        Ok(reading) => extent.reading = Some(reading),
        Err(fault) => extent.fault = Some(fault),
    }
}

async fn read_object(store: &Arc<Store>, fragment: &Fragment, cuts: &[i64]) -> Result<Reading, String> {
    let mut cutter = Cutter::new(fragment.begin.get(), fragment.end.get(), cuts);
    let mut reader = store.open(fragment, fragment.begin).await.map_err(|error| error.to_string())?;
    while let Some(content) = reader.next().await.map_err(|error| error.to_string())? {
        cutter.push(&content);
    }
    Ok(cutter.finish())
}

/// What the stores of the journal's spec have, each as it lists it.
async fn stored(
    places: &Places,
    journal: &list_response::Journal,
    nested: &[JournalName],
    evidence: &mut Evidence,
) -> Vec<Stored> {
    let Some(stores) = &places.stores else { return Vec::new() };
    let fragment = journal.spec.as_ref().and_then(|spec| spec.fragment.as_ref());
    let mut found = Vec::new();
    for url in fragment.map(|fragment| &*fragment.stores).unwrap_or_default() {
        match list(stores, url, name_of(journal), nested).await {
            Ok((store, fragments, strays)) => {
                evidence.strays.extend(strays);
                let extents = fragments.iter().map(|fragment| Extent {
                    begin: fragment.begin.get(),
                    end: fragment.end.get(),
                    name: relative_name(fragment),
                    promised: Some(fragment.sum),
                    ..Extent::default()
                });
                let extents = extents.collect();
                let ways = fragments.into_iter().map(|fragment| Way::Store(Arc::clone(&store), fragment));
                found.push(Stored { name: url.clone(), extents, ways: ways.collect() });
            }
            Err(reason) => evidence.unknown.push(format!("store {url} cannot be looked at: {reason}")),
        }
    }
    found
}

type Listing = (Arc<Store>, Vec<Fragment>, Vec<(String, String)>);

async fn list(stores: &Stores, url: &str, journal: &str, nested: &[JournalName]) -> Result<Listing, String> {
    let url = StoreUrl::parse(url).map_err(|error| error.to_string())?;
    let journal = JournalName::parse(journal).map_err(|error| error.to_string())?;
    let store = stores.get(&url).map_err(|error| error.to_string())?;
    let (fragments, strays) =
        store.list_with_strays(&journal, nested).await.map_err(|error| error.to_string())?;
    Ok((store, fragments, strays))
}

/// What brokers have found in stores, each object once, to be read through the first that tells of it.
fn through_brokers(members: &[Member]) -> Option<Stored> {
    let mut found = Stored { name: "stores".to_owned(), extents: Vec::new(), ways: Vec::new() };
    let mut seen = BTreeSet::new();
    for member in members {
        for fragment in member.fragments.iter().filter(|fragment| !fragment.backing_store.is_empty()) {
            let name = name_of_stored(fragment);
            if seen.insert(name.clone()) {
                let promised = fragment.sum.map(ContentSum::from);
                let (begin, end) = (fragment.begin, fragment.end);
                found.extents.push(Extent { begin, end, name, promised, ..Extent::default() });
                found.ways.push(Way::Broker(member.asked.clone()));
            }
        }
    }
    (!found.extents.is_empty()).then_some(found)
}

/// The name of an object below its journal's folder, as brokers and stores tell of it alike.
fn relative_name(fragment: &Fragment) -> String {
    let path = fragment.content_path();
    path.strip_prefix(fragment.journal.as_str())
        .map_or(path.as_str(), |name| name.trim_start_matches('/'))
        .to_owned()
}

fn name_of_stored(fragment: &wire::Fragment) -> String {
    Fragment::try_from(fragment.clone())
        .map_or_else(|invalid| invalid.to_string(), |fragment| relative_name(&fragment))
}
