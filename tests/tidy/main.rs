//! The walls of the house, walked: who may import whom, what a module says of itself, what a pure module may touch,
//! which words have no place, and whether `ARCHITECTURE.md` speaks of what is there.
//!
//! Every wall is a function of texts, and is shown to stand by a planted example that it must refuse.

mod architecture;
mod arrows;
mod modules;
mod source;
mod tree;
mod words;

use tree::Tree;

/// What is wrong, and where: `path: what`.
type Complaint = String;

fn assert_tidy(complaints: Vec<Complaint>) {
    assert!(complaints.is_empty(), "{} complaint(s):\n  {}", complaints.len(), complaints.join("\n  "));
}

/// Asserts that there is a complaint for each of the given texts, in order, and no other.
#[track_caller]
fn assert_complaints(complaints: &[Complaint], texts: &[&str]) {
    assert_eq!(complaints.len(), texts.len(), "{complaints:#?}");
    for (complaint, text) in complaints.iter().zip(texts) {
        assert!(complaint.contains(text), "{complaint:?} should say {text:?}");
    }
}

#[test]
fn crates_import_along_the_arrows_only() {
    assert_tidy(arrows::check(&Tree::of_the_repository()));
}

#[test]
fn every_module_says_what_it_is_for() {
    assert_tidy(modules::check_docs(&Tree::of_the_repository()));
}

#[test]
fn pure_modules_touch_no_clock_entropy_async_or_file() {
    assert_tidy(modules::check_purity(&Tree::of_the_repository()));
}

#[test]
fn nothing_is_left_for_later_and_no_lint_is_silenced() {
    assert_tidy(words::check(&Tree::of_the_repository()));
}

#[test]
fn architecture_names_what_exists() {
    assert_tidy(architecture::check(&Tree::of_the_repository()));
}
