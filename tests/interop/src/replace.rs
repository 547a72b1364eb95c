//! A cluster of one kind that is replaced by the other, one process after the other: the old one is asked to stop, hands
//! over, and ends. What it stored, in every codec, is read by its successor, and the journals go on where they were.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use courant_proto::wire;

use crate::cluster::Cluster;
use crate::mixed::CODECS;
use crate::processes::{Kind, World, until};
use crate::report::Report;
use crate::talk::{Talk, spec};

const FRAGMENT: i64 = 4096;

/// A successor has to have listed the stores before it tells what is there.
const LISTING: Duration = Duration::from_secs(20);

pub(crate) async fn run(world: &World, report: &mut Report) -> Result<()> {
    for first in Kind::BOTH {
        let title = format!("replace {} by {}", first.name(), first.other().name());
        let mut cluster = Cluster::new(world, &format!("/gazette/from-{}", first.name()));
        let ran = replace(&mut cluster, first, &title, report).await;
        report.check(format!("{title}: ran to its end"), ran);
    }
    Ok(())
}

async fn replace(cluster: &mut Cluster<'_>, first: Kind, title: &str, report: &mut Report) -> Result<()> {
    let old = cluster.add(first, "broker-old", "zone-a", 1024).await?;
    let journals: Vec<(String, wire::CompressionCodec)> = CODECS
        .iter()
        .map(|codec| (format!("from-{}/{}", first.name(), codec.as_str_name().to_lowercase()), *codec))
        .collect();
    let talk = Talk::to(&cluster.brokers[old].url())?;
    talk.create(journals.iter().map(|(name, codec)| spec(name, 1, *codec, FRAGMENT)).collect()).await?;
    cluster.settled().await?;

    let piece = |seed: usize| -> Vec<u8> {
        (0..FRAGMENT as usize + 900).map(|at| (at * 31 % 251 + seed * 7) as u8).collect()
    };
    let mut content = Vec::new();
    // The last of them is not more than a fragment's begin: it is stored when the broker stops.
    for seed in 0..3 {
        let piece = if seed == 2 { b"the end of the old".to_vec() } else { piece(seed) };
        for (journal, _) in &journals {
            talk.must_append(journal, &piece).await?;
        }
        content.extend(piece);
    }

    let new = cluster.add(first.other(), "broker-new", "zone-b", 1024).await?;
    let drained = cluster.brokers[old].drain().await;
    let drained = drained.and_then(|code| {
        ensure!(code == 0, "it ended with {code}");
        Ok(())
    });
    report.check(format!("{title}: the old one hands over and ends"), drained);
    cluster.settled().await?;

    let talk = Talk::to(&cluster.brokers[new].url())?;
    for (journal, codec) in &journals {
        let what = format!("{journal}: what was stored");
        let read = until(&what, LISTING, || async {
            let read = talk.content(journal).await?;
            ensure!(
                read.begin == 0 && read.bytes == content,
                "{} of {} bytes",
                read.bytes.len(),
                content.len()
            );
            Ok(Some(()))
        });
        let row = format!("{title}: the new one reads {}", codec.as_str_name());
        report.check(row, read.await);
        let appended = async {
            let (begin, _) = talk.must_append(journal, b"and the begin of the new").await?;
            ensure!(begin == content.len() as i64, "it begins at {begin} instead of {}", content.len());
            Ok(())
        };
        report.check(format!("{title}: the new one goes on, {}", codec.as_str_name()), appended.await);
    }
    let stored = cluster.world.stored();
    let partial = stored.iter().find(|path| path.contains(".partial") || path.contains('#'));
    ensure!(partial.is_none(), "{}: an unfinished upload", partial.context("a path")?);
    // The journals go, so that the last broker may.
    let deletions = journals.iter().map(|(journal, _)| wire::apply_request::Change {
        expect_mod_revision: -1,
        delete: journal.clone(),
        ..Default::default()
    });
    talk.apply(deletions.collect()).await.context("deletions")?;
    let code = cluster.brokers[new].drain().await?;
    let ended = if code == 0 { Ok(()) } else { Err(anyhow::anyhow!("it ended with {code}")) };
    report.check(format!("{title}: without journals, the last one ends"), ended);
    Ok(())
}
