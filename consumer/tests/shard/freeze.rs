//! An owner that stands still, as a whole, while another one takes over, and then goes on.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use courant_consumer::{Application, BoxError, Error, Flow, Incoming, JournalStore, Transaction, ViewFile};
use futures::future::pending;

use crate::scene::Scene;
use crate::stream_sum::{Chunker, PATIENCE, Sum};

/// Blocks its thread, and with it everything of its run, when so many messages were consumed.
struct Freezes {
    application: Sum,
    after: u32,
    consumed: u32,
    frozen: SyncSender<()>,
    thaw: Receiver<()>,
}

impl Application for Freezes {
    type Store = JournalStore;

    async fn consume(
        &mut self,
        transaction: &mut Transaction<'_, JournalStore>,
        message: &Incoming,
    ) -> Result<Flow, BoxError> {
        self.consumed += 1;
        if self.consumed == self.after {
            self.frozen.send(())?;
            self.thaw.recv()?;
        }
        self.application.consume(transaction, message).await
    }
}

#[tokio::test]
async fn an_owner_that_thaws_is_fenced_and_has_done_nothing() {
    for after in [1, 100, 250] {
        let scene = Scene::start().await;
        let mut chunker = Chunker::new(5);
        chunker.publish(&scene, 0..10, 40).await;
        let (frozen, is_frozen) = sync_channel(1);
        let (thaw, thawed) = sync_channel(1);
        let application = Sum::on(&scene).await;
        let mut freezes = Freezes { application, after, consumed: 0, frozen, thaw: thawed };
        let (fenced, scene) = thread::scope(|threads| {
            let (scene, chunker) = (&scene, &mut chunker);
            let first = threads.spawn(move || {
                runtime().block_on(async {
                    let file = ViewFile::in_memory().expect("a view");
                    let run = scene.run(&file, &mut freezes, pending());
                    tokio::time::timeout(PATIENCE, run).await.expect("it is fenced")
                })
            });
            let second = threads.spawn(move || {
                is_frozen.recv().expect("it freezes");
                runtime().block_on(async {
                    let mut application = Sum::on(scene).await;
                    let file = ViewFile::in_memory().expect("a view");
                    let stop = async {
                        chunker.publish(scene, 10..20, 40).await;
                        chunker.check(scene).await;
                        thaw.send(()).expect("it is frozen");
                        chunker.publish(scene, 20..30, 40).await;
                        chunker.check(scene).await;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    };
                    scene.run(&file, &mut application, stop).await.expect("it stops");
                    chunker.check(scene).await;
                });
            });
            second.join().expect("no panic");
            (first.join().expect("no panic"), scene)
        });
        assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
        chunker.check(scene).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
