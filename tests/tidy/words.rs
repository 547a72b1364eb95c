//! Words that have no place: what is left for later, silenced lints, skipped tests, and paths of somebody's machine.

use crate::Complaint;
use crate::source::code;
use crate::tree::Tree;

/// In any text. Written in two halves so that this file passes.
const ANYWHERE: [(&str, &str); 9] = [
    (concat!("FIX", "ME"), "do it, or open an issue"),
    (concat!("TO", "DO"), "do it, or open an issue"),
    (concat!("XX", "X:"), "do it, or open an issue"),
    (concat!("/ho", "me/"), "a path of somebody's machine"),
    (concat!("/Us", "ers/"), "a path of somebody's machine"),
    (concat!("/ro", "ot/."), "a path of somebody's machine"),
    (concat!("/wo", "rk/main"), "a path of somebody's machine"),
    (concat!("/wo", "rk/shared"), "a path of somebody's machine"),
    (concat!("/tmp/", "bash"), "a path of somebody's machine"),
];

/// In code.
const IN_CODE: [(&str, &str); 4] = [
    ("todo!", "do it"),
    ("unimplemented!", "do it"),
    ("#[ignore", "a test that nobody runs is none"),
    ("#[allow(", "use #[expect(…, reason = \"…\")], which tells when it is not needed any more"),
];

pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| *path != "Cargo.lock") {
        find(path, text, &ANYWHERE, &mut complaints);
    }
    for (path, text) in tree.ending(".rs") {
        let code = code(text);
        find(path, &code, &IN_CODE, &mut complaints);
        for (number, line) in code.lines().enumerate().filter(|(_, line)| line.contains("[expect(")) {
            // The attribute may go on over some lines.
            let attribute = code.lines().skip(number).take(12).collect::<String>();
            if attribute.split(']').next().is_some_and(|attribute| !attribute.contains("reason")) {
                complaints.push(format!("{path}:{}: {} without a reason", number + 1, line.trim()));
            }
        }
        // Generated code is not ours to mend.
        if code.contains("#![allow(") && !code.contains("include_proto!") && !code.contains("include!(") {
            complaints.push(format!("{path}: silences lints for a whole module of ours"));
        }
    }
    complaints
}

fn find(path: &str, text: &str, words: &[(&str, &str)], complaints: &mut Vec<Complaint>) {
    for (number, line) in text.lines().enumerate() {
        for (word, instead) in words.iter().filter(|(word, _)| line.contains(word)) {
            complaints.push(format!("{path}:{}: {word}: {instead}", number + 1));
        }
    }
}

#[test]
fn planted_words_are_refused() {
    let check = |path: &str, text: &str, complaints: &[&str]| {
        crate::assert_complaints(&check(&Tree::planted([(path, text)])), complaints);
    };
    check("a/src/b.rs", "fn f() { g(\"todo!\") } // unimplemented!", &[]);
    check("a/src/b.rs", "fn f() { todo!() }", &["a/src/b.rs:1: todo!"]);
    check("a/src/b.rs", "\nfn f() { unimplemented!() }", &["a/src/b.rs:2: unimplemented!"]);
    check("a/src/b.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", &["a/src/b.rs:2: #[ignore"]);
    check("a/src/b.rs", "#[allow(dead_code)]\nfn f() {}", &["#[allow("]);
    check("a/src/b.rs", "#![allow(dead_code)]\nfn f() {}", &["silences lints"]);
    check("a/src/wire.rs", "#![allow(clippy::all)]\ntonic::include_proto!(\"p\");", &[]);
    check("a/src/b.rs", "#[expect(dead_code, reason = \"for later\")]\nfn f() {}", &[]);
    check("a/src/b.rs", "#[expect(dead_code)]\nfn f() { reason }", &["without a reason"]);
    check("a/src/b.rs", concat!("// FIX", "ME later"), &["FIX"]);
    check("README.md", concat!("cd /ho", "me/me/courant"), &["somebody's machine"]);
}
