//! What modules say of themselves: that they say something, and that those who say "Pure:" are.

use crate::Complaint;
use crate::source::code_without_tests;
use crate::tree::Tree;

/// What a pure module may not so much as name: runtimes, locks, clocks, entropy, files, sockets, surroundings.
const IMPURE: [&str; 27] = [
    ".await",
    "Atomic",
    "Condvar",
    "File::",
    "Instant::now",
    "Mutex",
    "OnceLock",
    "RwLock",
    "SystemTime",
    "arc_swap",
    "async fn",
    "async move",
    "async {",
    "crossbeam",
    "getrandom",
    "object_store",
    "parking_lot",
    "println!",
    "rand::",
    "rustix",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "tokio",
];

pub(crate) fn check_docs(tree: &Tree) -> Vec<Complaint> {
    let undocumented = tree.ending(".rs").filter(|(_, text)| doc(text).is_empty());
    undocumented
        .map(|(path, _)| format!("{path}: begins with no //! line that says what it is for"))
        .collect()
}

pub(crate) fn check_purity(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(_, text)| doc(text).starts_with("Pure:")) {
        let code = code_without_tests(text);
        for (number, line) in code.lines().enumerate() {
            for word in IMPURE.iter().filter(|word| names(line, word)) {
                complaints.push(format!("{path}:{}: says it is pure and names {word}", number + 1));
            }
        }
    }
    complaints
}

/// The first line of a module's doc.
fn doc(text: &str) -> &str {
    text.lines().next().and_then(|first| first.strip_prefix("//!")).unwrap_or("").trim()
}

/// Whether `word` stands in `line` other than as the end of a longer word.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        // A generator that the caller passes in or seeds is an input like any other.
        let seeded_only = *word == *"rand::" && only_seeded(&line[at + word.len()..]);
        !seeded_only && (word.starts_with('.') || before.is_none_or(|c| !c.is_alphanumeric() && c != '_'))
    })
}

/// Whether an import goes on with what draws no entropy by itself: `Rng`, or `{RngExt as _, SeedableRng}`.
fn only_seeded(import: &str) -> bool {
    let names = import.strip_prefix('{').and_then(|list| list.split('}').next()).unwrap_or(import);
    let count = if import.starts_with('{') { usize::MAX } else { 1 };
    let seeded = ["Rng", "SeedableRng", "rngs::StdRng", "rngs::SmallRng"];
    names.split(',').take(count).all(|name| seeded.iter().any(|seeded| name.trim().starts_with(seeded)))
}

#[test]
fn planted_modules_without_a_doc_are_refused() {
    let check = |text: &str, complaints: &[&str]| {
        crate::assert_complaints(&check_docs(&Tree::planted([("a/src/b.rs", text)])), complaints);
    };
    check("//! What it is for.\nuse x;", &[]);
    check("use x;", &["a/src/b.rs: begins with no //! line"]);
    check("//!\nuse x;", &["a/src/b.rs"]);
    check("// Not a doc.\n//! Late.", &["a/src/b.rs"]);
    check("", &["a/src/b.rs"]);
}

#[test]
fn planted_impurities_are_refused() {
    let check = |text: &str, complaints: &[&str]| {
        crate::assert_complaints(&check_purity(&Tree::planted([("a/src/b.rs", text)])), complaints);
    };
    check("//! Pure: sums.\nuse std::time::Duration;\nfn f() {} // tokio\n", &[]);
    check("//! Drives.\nuse tokio::fs;", &[]);
    check("//! Pure: sums.\nuse tokio::sync::watch;", &["a/src/b.rs:2: says it is pure and names tokio"]);
    check(
        "//! Pure: sums.\nfn f() { let now = std::time::Instant::now(); }",
        &["Instant::now", "std::time::Instant"],
    );
    check("//! Pure: sums.\nasync fn f() { g().await }", &[".await", "async fn"]);
    check("//! Pure: sums.\nfn f(x: &std::sync::Mutex<u8>, brand: u8) {}", &["Mutex"]);
    check("//! Pure: sums.\nuse std::fs;\nfn f() { rand::random() }", &["std::fs", "rand::"]);
    check(
        "//! Pure: sums.\nuse rand::rngs::StdRng;\nuse rand::{Rng, RngExt as _};\nfn f(rng: &mut impl rand::Rng) -> u8 { rng.random() }",
        &[],
    );
    check("//! Pure: sums.\nuse rand::rngs::ThreadRng;\nuse rand::{Rng, random};", &["rand::", "rand::"]);
    check("//! Pure: sums.\nfn brand() { operand::f() }\n#[cfg(test)]\nmod tests { use tokio; }", &[]);
}
