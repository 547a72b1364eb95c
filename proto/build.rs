//! Generates the wire messages and the stubs of the services with a compiler that is a crate, so that cargo alone is enough.

use std::error::Error;

const FILES: [&str; 6] =
    ["protocol.proto", "attach.proto", "courant.proto", "message.proto", "consumer.proto", "shard.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let files = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
