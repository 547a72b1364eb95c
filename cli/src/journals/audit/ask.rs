//! Asks single brokers for what they themselves know and hold of a journal. A question is addressed to its broker, so that no other
//! one answers in its place.

use std::collections::HashMap;
use std::time::Duration;

use courant_client::{Client, Error, Options, ReadEvent};
use courant_proto::wire;
use futures::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use super::cuts::{Cutter, Reading};

/// How long a broker may be away before it is told as such.
const PATIENCE: Options =
    Options { retry_for: Duration::from_secs(5), call_timeout: Duration::from_secs(60) };

/// Brokers by their endpoints.
#[derive(Debug, Default)]
pub(in crate::journals) struct Brokers(Mutex<HashMap<String, Client>>);

/// One broker, asked about one journal.
#[derive(Clone, Debug)]
pub(in crate::journals) struct Asked {
    client: Client,
    id: wire::process_spec::Id,
    etcd: wire::header::Etcd,
    journal: String,
}

impl Brokers {
    /// The broker at an endpoint, which must be this one.
    pub(in crate::journals) fn ask(
        &self,
        endpoint: &str,
        id: &wire::process_spec::Id,
        etcd: wire::header::Etcd,
        journal: &str,
    ) -> Result<Asked, Error> {
        let mut open = self.0.lock();
        let client = match open.get(endpoint) {
            Some(client) => client.clone(),
            None => {
                let client = Client::connect(endpoint)?.without_routing().with_options(PATIENCE);
                open.entry(endpoint.to_owned()).or_insert(client).clone()
            }
        };
        Ok(Asked { client, id: id.clone(), etcd, journal: journal.to_owned() })
    }
}

impl Asked {
    /// Names this broker, which refuses what is meant for another one.
    fn header(&self) -> Option<wire::Header> {
        let route = wire::Route { primary: -1, ..Default::default() };
        Some(wire::Header { process_id: Some(self.id.clone()), route: Some(route), etcd: Some(self.etcd) })
    }

    /// The fragments that it knows: those it holds, and those it has found in stores.
    pub(in crate::journals) async fn fragments(&self) -> Result<Vec<wire::Fragment>, Error> {
        let all = self.fragments_of(wire::FragmentsRequest::default()).await?;
        Ok(all.into_iter().filter_map(|fragment| fragment.spec).collect())
    }

    /// The fragments that it knows, of those that a request asks for.
    pub(in crate::journals) async fn fragments_of(
        &self,
        request: wire::FragmentsRequest,
    ) -> Result<Vec<wire::fragments_response::Fragment>, Error> {
        let request = wire::FragmentsRequest {
            header: self.header(),
            journal: self.journal.clone(),
            do_not_proxy: true,
            ..request
        };
        let pages: Vec<_> = self.client.fragment_pages(request).try_collect().await?;
        Ok(pages.into_iter().flat_map(|page| page.fragments).collect())
    }

    /// Where it sees the end of the journal.
    pub(in crate::journals) async fn head(&self) -> Result<i64, Error> {
        let request = wire::ReadRequest {
            header: self.header(),
            journal: self.journal.clone(),
            offset: -1,
            metadata_only: true,
            do_not_proxy: true,
            ..Default::default()
        };
        let mut stream = self.client.read(request);
        let first = tokio::time::timeout(PATIENCE.call_timeout, stream.next()).await;
        match first.map_err(|_| Error::Unanswered { call: "Read", after: PATIENCE.call_timeout })? {
            Some(Ok(ReadEvent::Metadata(metadata))) => Ok(metadata.write_head),
            Some(Err(Error::Refused(refusal))) if refusal.status == wire::Status::OffsetNotYetAvailable => {
                Ok(refusal.write_head)
            }
            Some(Err(error)) => Err(error),
            Some(Ok(ReadEvent::Content { .. })) | None => {
                Err(Error::Invalid("the read of the journal's end told nothing".to_owned()))
            }
        }
    }

    /// Reads a span through it. Content that it passes over, or that another broker serves, is a fault.
    pub(in crate::journals::audit) async fn read(
        &self,
        begin: i64,
        end: i64,
        cuts: &[i64],
    ) -> Result<Reading, String> {
        let request = wire::ReadRequest {
            header: self.header(),
            journal: self.journal.clone(),
            offset: begin,
            end_offset: end,
            ..Default::default()
        };
        let mut reader = self.client.reader(request);
        let mut cutter = Cutter::new(begin, end, cuts);
        while let Some(event) = reader.next().await {
            match event.map_err(|error| error.to_string())? {
                ReadEvent::Content { content, .. } => cutter.push(&content),
                ReadEvent::Metadata(metadata) => {
                    let by = metadata.header.as_ref().and_then(|header| header.process_id.as_ref());
                    if let Some(other) = by.filter(|by| **by != self.id) {
                        return Err(format!("{} answered in its place", other.suffix));
                    }
                    if let Some(gap) = metadata.gap {
                        return Err(format!("it passes over [{}, {})", gap.begin, gap.end));
                    }
                }
            }
        }
        if cutter.at() < end {
            return Err(format!("it ends at {}, and was to end at {end}", cutter.at()));
        }
        Ok(cutter.finish())
    }
}
