//! What others rely on of a broker in a cluster, shown by brokers that are real and peers that are scripted: statuses, literal texts,
//! and who hears what in which order.

mod appends;
pub(crate) mod cluster;
mod drains;
mod moves;
mod proxies;
mod registries;
mod replication;
mod scripted;

use courant_proto::wire;

fn labels(pairs: &[(&str, &str)]) -> wire::LabelSet {
    let label = |(name, value): &(&str, &str)| wire::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
        ..Default::default()
    };
    wire::LabelSet { labels: pairs.iter().map(label).collect() }
}
