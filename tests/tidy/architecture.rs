//! Whether `ARCHITECTURE.md` speaks of what is there: every path it names exists, every crate and every decision is
//! named.

use crate::Complaint;
use crate::tree::Tree;

const PAGE: &str = "ARCHITECTURE.md";

pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let Some(page) = tree.text(PAGE) else {
        return vec![format!("{PAGE}: missing")];
    };
    let mut complaints = Vec::new();
    for path in spans(page).filter(|span| is_path(span)).chain(links(page)) {
        if !tree.has(path) {
            complaints.push(format!("{PAGE}: names {path}, which does not exist"));
        }
    }
    for (manifest, _) in tree.ending("/Cargo.toml") {
        let folder = manifest.trim_end_matches("/Cargo.toml");
        if !spans(page).any(|span| span.trim_end_matches('/') == folder) {
            complaints.push(format!("{PAGE}: does not name the crate {folder}"));
        }
    }
    for (decision, _) in tree.files().filter(|(path, _)| path.starts_with("docs/adr/")) {
        if !links(page).any(|link| link == decision) {
            complaints.push(format!("{PAGE}: does not link {decision}"));
        }
    }
    complaints
}

/// What stands in backticks.
fn spans(page: &str) -> impl Iterator<Item = &str> {
    // Each fenced block has an even number of backticks, so spans keep their parity.
    page.split('`').skip(1).step_by(2).filter(|span| !span.is_empty() && !span.contains('\n'))
}

/// Whether a span is meant as a path in this repository, and not as a route, a key, a type or a command.
fn is_path(span: &str) -> bool {
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let relative = !span.starts_with('/');
    let named = span.contains('/') || [".rs", ".md", ".toml", ".proto"].iter().any(|end| span.ends_with(end));
    plain && relative && named
}

/// The files that are linked; anchors and other sites are left out.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

#[test]
fn planted_pages_are_refused() {
    let check = |page: &str, complaints: &[&str]| {
        let tree = Tree::planted([
            (PAGE, page),
            ("keyspace/Cargo.toml", ""),
            ("keyspace/src/lib.rs", ""),
            ("docs/adr/0001-spools.md", ""),
        ]);
        crate::assert_complaints(&check(&tree), complaints);
    };
    let good = "`keyspace`, `keyspace/src/`, `keyspace/src/lib.rs`; [one](docs/adr/0001-spools.md) [etcd](https://etcd.io/x)";
    check(good, &[]);
    check(&format!("{good} ```text\n /not/checked `a`\n``` `GET /v1/x` `/etc` `Vec<u8>` `a::b`"), &[]);
    check(
        &format!("{good} `keyspace/src/mirror.rs`"),
        &["names keyspace/src/mirror.rs, which does not exist"],
    );
    check(&format!("{good} [two](docs/adr/0002-gone.md)"), &["names docs/adr/0002-gone.md"]);
    check("`keyspace/src/lib.rs` [one](docs/adr/0001-spools.md)", &["does not name the crate keyspace"]);
    check("`keyspace` and docs/adr/0001-spools.md", &["does not link docs/adr/0001-spools.md"]);
    crate::assert_complaints(&super::architecture::check(&Tree::default()), &["missing"]);
}
