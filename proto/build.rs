//! Generates the wire messages and the stubs of the `Journal` service with a compiler that is a crate, so
//! that cargo alone is enough.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=protocol.proto");
    let files = protox::compile(["protocol.proto"], ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
