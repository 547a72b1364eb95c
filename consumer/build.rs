//! Nothing is generated here: this script only makes cargo unpack the protoc that etcd-client's build runs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
