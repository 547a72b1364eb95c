//! `stores`: starts a server of an object store, says how it is reached, and ends with its own input.
//!
//! ```console
//! $ cargo run -p courant-tests --bin stores -- s3
//! export AWS_ACCESS_KEY_ID=courant-key-id
//! …
//! # s3://courant-test/?endpoint=http://127.0.0.1:41234
//! ```

use std::io::{Read as _, Write as _, stdin, stdout};

use clap::{Parser, ValueEnum};
use courant_tests::stores::{Access, Azure, Gcs, Moto, S3};

/// Starts a server of an object store with an empty bucket, says how it is reached, and ends when its input does.
#[derive(Parser)]
#[command(name = "stores")]
struct Arguments {
    /// Which one.
    server: Server,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    /// S3's API over a folder; checks signatures.
    S3,
    /// S3's API by moto.
    Moto,
    /// A double of Google's API.
    Gcs,
    /// Azure's API by Azurite.
    Azure,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.server {
        Server::S3 => {
            let server = S3::start();
            hold(&server.access())
        }
        Server::Gcs => {
            let server = Gcs::start();
            hold(&server.access())
        }
        Server::Moto => match runtime.block_on(Moto::start()) {
            Some(server) => hold(&server.access()),
            None => Ok(()),
        },
        Server::Azure => match runtime.block_on(Azure::start()) {
            Some(server) => hold(&server.access()),
            None => Ok(()),
        },
    }
}

/// Says how a server is reached, in a shell's words, and waits until nobody needs it.
fn hold(access: &Access) -> std::io::Result<()> {
    let mut output = stdout().lock();
    for (name, value) in &access.environment {
        writeln!(output, "export {name}={value}")?;
    }
    writeln!(output, "# {}", access.store)?;
    output.flush()?;
    let mut rest = Vec::new();
    stdin().lock().read_to_end(&mut rest).map(drop)
}
