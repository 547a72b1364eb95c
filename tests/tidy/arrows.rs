//! Who may import whom. What a crate needs for its own tests (`[dev-dependencies]`) may come from anywhere.

use crate::Complaint;
use crate::tree::Tree;

/// All the arrows there are, from each crate's folder to those it may import. A crate that has no row may not exist.
const ARROWS: [(&str, &[&str]); 16] = [
    ("proto", &[]),
    ("registry", &[]),
    ("keyspace", &[]),
    ("message", &["proto"]),
    ("allocator", &["keyspace"]),
    ("fragment", &["proto"]),
    ("broker", &["proto", "keyspace", "allocator", "fragment"]),
    ("client", &["proto", "fragment"]),
    ("consumer", &["proto", "keyspace", "allocator", "client", "message"]),
    ("gateway", &["proto", "client", "message", "consumer"]),
    ("cli", LIBRARIES),
    ("examples", &["client", "message", "consumer", "proto"]),
    ("tests", EVERYTHING),
    ("tests/interop", &["proto"]),
    ("bench", EVERYTHING),
    ("", &[]),
];

const LIBRARIES: &[&str] = &[
    "proto",
    "registry",
    "keyspace",
    "message",
    "allocator",
    "fragment",
    "broker",
    "client",
    "consumer",
    "gateway",
];

const EVERYTHING: &[&str] = &[
    "proto",
    "registry",
    "keyspace",
    "message",
    "allocator",
    "fragment",
    "broker",
    "client",
    "consumer",
    "gateway",
    "cli",
    "examples",
    "tests",
    "bench",
];

/// Crates that use another one without its optional part.
const WITHOUT_FEATURES: [(&str, &str); 1] = [("client", "fragment")];

pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.ending("Cargo.toml") {
        let folder = path.trim_end_matches("Cargo.toml").trim_end_matches('/');
        let Some((_, may_import)) = ARROWS.iter().find(|(known, _)| *known == folder) else {
            complaints.push(format!("{path}: a crate that has no row in the table of arrows"));
            continue;
        };
        for (line, imported) in imports(text) {
            if !may_import.contains(&imported) {
                complaints.push(format!("{path}: {folder} may not import {imported} ({line})"));
            } else if WITHOUT_FEATURES.contains(&(folder, imported)) && line.contains("features") {
                complaints.push(format!("{path}: {folder} takes {imported} without features ({line})"));
            }
        }
    }
    complaints
}

/// Our crates that a manifest names outside of `[dev-dependencies]`, each with its line.
fn imports(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut counts = false;
    manifest.lines().map(str::trim).flat_map(move |line| {
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            // Those of the workspace only give versions.
            counts = section.split('.').any(|part| part == "dependencies" || part == "build-dependencies")
                && !section.starts_with("workspace");
        }
        let code = if counts { line.split('#').next().unwrap_or("") } else { "" };
        code.match_indices("courant-").map(move |(at, prefix)| {
            let name = &code[at + prefix.len()..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
            (line, &name[..end])
        })
    })
}

#[test]
fn planted_imports_are_refused() {
    let check = |path: &str, manifest: &str, complaints: &[&str]| {
        crate::assert_complaints(&check(&Tree::planted([(path, manifest)])), complaints);
    };
    check("proto/Cargo.toml", "[dependencies]\nbytes = \"1\"", &[]);
    check(
        "proto/Cargo.toml",
        "[dependencies]\ncourant-keyspace.workspace = true",
        &["proto may not import keyspace"],
    );
    check(
        "proto/Cargo.toml",
        "[dependencies.courant-client]\nworkspace = true",
        &["proto may not import client"],
    );
    check(
        "broker/Cargo.toml",
        "[target.'cfg(unix)'.dependencies]\nx = { package = \"courant-client\" }",
        &["import client"],
    );
    check("broker/Cargo.toml", "[build-dependencies]\ncourant-cli = \"1\"", &["broker may not import cli"]);
    check(
        "broker/Cargo.toml",
        "[dev-dependencies]\ncourant-client.workspace = true\ncourant-registry = \"1\"",
        &[],
    );
    check("broker/Cargo.toml", "[dependencies]\ncourant-proto.workspace = true # not courant-client", &[]);
    check(
        "gateway/Cargo.toml",
        "[dependencies]\ncourant-broker = \"1\"\ncourant-client = \"1\"",
        &["import broker"],
    );
    check("client/Cargo.toml", "[dependencies]\ncourant-fragment.workspace = true", &[]);
    check(
        "client/Cargo.toml",
        "[dependencies]\ncourant-fragment = { workspace = true, features = [\"store\"] }",
        &["client takes fragment without features"],
    );
    check("attic/Cargo.toml", "[package]", &["no row"]);
    check("Cargo.toml", "[workspace.dependencies]\ncourant-proto = { path = \"proto\" }", &[]);
}
