//! Brokers in three zones on a real etcd, under load and faults: nothing that was acknowledged is lost, nothing is seen that is
//! not there in the end, and whatever fails is over soon. `cargo run -p courant-tests --bin chaos -- run` is the long form.

mod drought;
mod faults;
mod loss;

use tokio::sync::{Mutex, MutexGuard};

/// A cluster takes the whole machine: they are tried one after the other.
async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}
