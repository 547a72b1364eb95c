//! What a person sees when the process has started: where it listens, what it uses, and what to try.

use std::fmt::Write as _;

/// The facts of the banner.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    pub(crate) id: &'a str,
    pub(crate) address: &'a str,
    pub(crate) registry: &'a str,
    pub(crate) store: &'a str,
    pub(crate) auto_create: bool,
}

/// The banner as text, for stderr.
pub(crate) fn text(banner: &Banner<'_>) -> String {
    let Banner { id, address, registry, store, auto_create } = banner;
    let mut text = format!(
        "courant {} · broker {id}\n  listening on  http://{address}\n  registry      {registry}\n  fragments     {store}\n",
        env!("CARGO_PKG_VERSION"),
    );
    if *auto_create {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "try it:\n  printf 'Hello, journal!\\n' | curl -sS -X PUT --data-binary @- http://{address}/examples/foobar\n  \
             curl -sSN 'http://{address}/examples/foobar?offset=0&block=true'\n"
        );
    } else {
        let _ = write!(
            text,
            "try it:\n  courant journals list --broker http://{address} --primary\n  courant journals apply --broker http://{address} --specs journals.yaml\n"
        );
    }
    text
}
