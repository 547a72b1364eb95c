//! Every verb of `gazctl journals`, run against a Gazette broker and against a Courant broker that were told the same
//! before: exit code, output and errors have to be equal.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::processes::{Broker, Kind, World, until};
use crate::report::{Outcome, Report};
use crate::shell::{Ends, Gazctl, Ran};
use crate::talk::Talk;

/// One run of gazctl.
struct Step<'a> {
    name: &'a str,
    /// What follows `gazctl journals`, with blanks between.
    args: &'a str,
    input: &'a [u8],
    /// The editor of `edit`.
    editor: &'a str,
    ends: Ends,
    /// Whether it has to go well, as opposed to having to fail.
    good: bool,
}

impl<'a> Step<'a> {
    /// The same, which has to fail.
    const fn refused(self) -> Self {
        Self { good: false, ..self }
    }
}

const fn step<'a>(name: &'a str, args: &'a str) -> Step<'a> {
    Step { name, args, input: b"", editor: "true", ends: Ends::ByItself, good: true }
}

const fn fed<'a>(name: &'a str, args: &'a str, input: &'a [u8]) -> Step<'a> {
    Step { name, args, input, editor: "true", ends: Ends::ByItself, good: true }
}

const fn edited<'a>(name: &'a str, args: &'a str, editor: &'a str) -> Step<'a> {
    Step { name, args, input: b"", editor, ends: Ends::ByItself, good: true }
}

const fn ended<'a>(name: &'a str, args: &'a str) -> Step<'a> {
    Step {
        name,
        args,
        input: b"",
        editor: "true",
        ends: Ends::After(Duration::from_millis(1500)),
        good: true,
    }
}

/// Journals of every kind: the codecs that folders may hold, one that is only read, one that is only written.
const SPECS: &[u8] = b"\
name: acme/
replication: 1
labels:
- name: app
  value: billing
fragment:
  length: 1024
  stores: [file:///]
  refresh_interval: 1s
children:
- name: acme/gzip
  fragment: {compression_codec: GZIP}
- name: acme/plain
  labels: [{name: tier, value: one}]
  fragment: {compression_codec: NONE}
- name: acme/readonly
  flags: O_RDONLY
  fragment: {compression_codec: NONE}
- name: acme/snappy
  fragment: {compression_codec: SNAPPY}
- name: acme/writeonly
  flags: O_WRONLY
  fragment: {compression_codec: NONE}
- name: acme/zstd
  fragment: {compression_codec: ZSTANDARD}
";

const MORE: &[u8] = b"\
name: more/
replication: 1
fragment: {length: 65536, compression_codec: NONE, stores: [file:///], refresh_interval: 1m}
children:
- name: more/one
- name: more/three
- name: more/two
";

const WITHOUT_STORE: &[u8] = b"\
name: bad/journal
replication: 1
fragment: {length: 65536, compression_codec: NONE, stores: [gopher://x/], refresh_interval: 1m}
";

const DELETIONS: &[u8] = b"\
name: more/
children:
- {name: more/one, delete: true, revision: -1}
- {name: more/two, delete: true, revision: -1}
";

const WRONG_REVISION: &[u8] = b"{name: more/three, delete: true, revision: 7}\n";

/// More than a fragment, so that the next append rolls it.
fn big(seed: u8) -> Vec<u8> {
    let line = |n: usize| format!("{seed} {n:04} {}\n", "abcdefgh".repeat(n % 9));
    (0..60).flat_map(|n| line(n).into_bytes()).collect()
}

/// The codecs' journals.
const STORED: [&str; 4] = ["acme/gzip", "acme/plain", "acme/snappy", "acme/zstd"];

/// The two brokers, each alone in its cluster, on one etcd.
struct Pair<'a> {
    world: &'a World,
    gazette: (Broker, Gazctl),
    courant: (Broker, Gazctl),
}

pub(crate) async fn run(world: &World, report: &mut Report) -> Result<()> {
    let open = async |kind: Kind| {
        let folder = world.folder().join(format!("{}-client", kind.name()));
        let broker = Broker::new(world, kind, "broker-one", "zone-a", &format!("/gazette/{}", kind.name()))?;
        let mut broker = broker.with_store(&folder.join("store"))?;
        // Both have one id, which is shown in many places; their logs and data folders would be one as well.
        broker.keep_in(kind.name());
        broker.start(world).await?;
        let gazctl = Gazctl::new(world.programs.tool("gazctl"), &folder, &broker);
        anyhow::Ok((broker, gazctl))
    };
    let pair = Pair { world, gazette: open(Kind::Gazette).await?, courant: open(Kind::Courant).await? };
    pair.specs(report).await?;
    pair.content(report).await?;
    pair.fragments(report).await?;
    pair.heads(report).await?;
    pair.ends(report).await
}

impl Pair<'_> {
    /// One step against both.
    async fn ran(&self, step: &Step<'_>) -> Result<(Ran, Ran)> {
        // A blank within an argument is written as `+`.
        let args: Vec<String> = step.args.split_whitespace().map(|arg| arg.replace('+', " ")).collect();
        let args: Vec<&str> = std::iter::once("journals").chain(args.iter().map(String::as_str)).collect();
        let env = [("GAZ_EDITOR", step.editor)];
        let (gazette, courant) = tokio::join!(
            self.gazette.1.run(&args, step.input, &env, step.ends),
            self.courant.1.run(&args, step.input, &env, step.ends),
        );
        Ok((gazette?, courant?))
    }

    async fn compare(&self, report: &mut Report, steps: &[Step<'_>]) -> Result<()> {
        for step in steps {
            let (gazette, courant) = self.ran(step).await.with_context(|| step.name.to_owned())?;
            // What was meant to be tried was not, if both failed.
            let tried = (gazette.code == Some(0)) == step.good || matches!(step.ends, Ends::After(_));
            let outcome = if gazette == courant && tried {
                Outcome::Same
            } else {
                Outcome::Differs(format!(
                    "gazctl journals {}\n gazette:\n{} courant:\n{}",
                    step.args,
                    gazette.describe(),
                    courant.describe()
                ))
            };
            report.add(format!("gazctl {}", step.name), outcome);
        }
        Ok(())
    }

    async fn specs(&self, report: &mut Report) -> Result<()> {
        let editor = "sed -i s/length:.65536/length:\\ 131072/";
        let broken = "sed -i s/NONE/NOTHING/";
        self.compare(
            report,
            &[
                fed("apply: dry run", "apply --dry-run", SPECS),
                fed("apply: creates", "apply --log.level=info", SPECS),
                fed("apply: creates again", "apply", SPECS).refused(),
                fed("apply: in batches", "apply --log.level=info --max-txn-size 2", MORE),
                fed("apply: a store nobody knows", "apply", WITHOUT_STORE).refused(),
                fed("apply: no YAML", "apply", b"name: [\n").refused(),
                step("list", "list"),
                step("list: columns", "list --rf -p -r --stores -L app -L tier"),
                step("list: name", "list -l name=acme/plain"),
                step("list: prefix", "list -l prefix=more/"),
                step("list: name prefix", "list -l name:prefix=acme/"),
                step("list: label", "list -l app=billing"),
                step("list: two labels", "list -l app=billing,tier=one"),
                step("list: excluded", "list -l app!=billing"),
                step("list: a set", "list -l tier+in+(one,two)"),
                step("list: nothing", "list -l app=nothing"),
                step("list: a selector that is none", "list -l app=(=").refused(),
                step("list: json", "list -o json"),
                step("list: yaml", "list -o yaml"),
                step("list: proto", "list -l prefix=more/ -o proto"),
                ended("list: watch", "list -l prefix=more/ --watch"),
                edited("edit: no change", "edit -l name=more/one", "true"),
                edited("edit: emptied", "edit -l name=more/one", "truncate -s 0"),
                edited("edit: a change", "edit -l name=more/one --log.level=info", editor),
                step("list: after edit", "list -l name=more/one -o yaml"),
                edited("edit: no match", "edit -l name=none/such", "true").refused(),
            ],
        )
        .await?;
        // Its path is another one at each run.
        let (gazette, courant) = self.ran(&edited("", "edit -l name=more/one", broken)).await?;
        let outcome = if gazette.code == courant.code {
            Outcome::Same
        } else {
            Outcome::Differs(format!("{}{}", gazette.describe(), courant.describe()))
        };
        report.add("gazctl edit: a change that is refused", outcome);
        Ok(())
    }

    async fn content(&self, report: &mut Report) -> Result<()> {
        let keyed = b"key-1\none\nkey-2\ntwo\nkey-1\nthree\n";
        // A fixed frame: its magic word, the length in little endian, and the payload.
        let framed = b"\x66\x33\x93\x36\x05\x00\x00\x00hello\x66\x33\x93\x36\x05\x00\x00\x00again";
        self.compare(
            report,
            &[
                fed("append", "append -l name=acme/plain", b"hello, world\n"),
                fed("append: nothing", "append -l name=acme/plain", b""),
                fed("append: lines", "append -l name=acme/plain -f lines", b"one\ntwo\nthree\n"),
                fed("append: fixed", "append -l name=more/one -f fixed", framed),
                fed("append: modulo", "append -l prefix=more/ -f lines -m modulo", keyed),
                fed("append: rendezvous", "append -l prefix=more/ -f lines -m rendezvous", keyed),
                fed("append: direct", "append -l name=more/two -f lines -m direct", b"more/two\nx\n"),
                fed("append: base64", "append -l prefix=more/ -f lines -m modulo --base64", b"a2V5\nx\n"),
                fed("append: no match", "append -l name=none/such", b"x").refused(),
                fed("append: read only", "append -l name=acme/readonly", b"x").refused(),
                fed("append: write only", "append -l name=acme/writeonly", b"x"),
                step("read", "read -l name=acme/plain"),
                step("read: framed", "read -l name=more/one"),
                step("read: by key, one", "read -l name=more/two"),
                step("read: by key, two", "read -l name=more/three"),
                step("read: nothing there", "read -l name=acme/readonly"),
                step("read: no match", "read -l name=none/such"),
                step("read: offsets out", "read -l name=acme/plain --offsets-out offsets.json"),
                fed("append: after the offsets", "append -l name=acme/plain", b"more\n"),
                step("read: offsets", "read -l name=acme/plain --offsets offsets.json"),
                ended("read: block", "read -l name=acme/plain --block"),
                ended("read: block at the tail", "read -l name=acme/plain --block --tail"),
                ended("read: write only", "read -l name=acme/writeonly"),
            ],
        )
        .await
    }

    /// Fragments in every codec, stored, listed, and read by the client from the store itself.
    async fn fragments(&self, report: &mut Report) -> Result<()> {
        for journal in STORED {
            for seed in 0..3 {
                let append = format!("append -l name={journal}");
                let (gazette, courant) = self.ran(&fed("", &append, &big(seed))).await?;
                anyhow::ensure!(gazette.code == Some(0), "{journal}: {}", gazette.describe());
                anyhow::ensure!(courant.code == Some(0), "{journal}: {}", courant.describe());
            }
            self.stored(journal, 2).await?;
        }
        self.compare(
            report,
            &[
                step("fragments", "fragments -l name=acme/plain"),
                step("fragments: json", "fragments -l name=acme/gzip -o json"),
                step("fragments: proto", "fragments -l name=acme/snappy -o proto"),
                step("fragments: URLs", "fragments -l name=acme/zstd -o json --url-ttl 1m"),
                step("fragments: from", "fragments -l name=acme/plain --from 4000000000"),
                step("fragments: to", "fragments -l name=acme/plain --to 1"),
                step("fragments: none", "fragments -l name=acme/readonly"),
                step("fragments: write only", "fragments -l name=acme/writeonly").refused(),
            ],
        )
        .await?;
        let root = "--file-root store";
        let reads: Vec<(String, String)> = STORED
            .iter()
            .map(|name| (format!("read: {name} from the store"), format!("read -l name={name} {root}")))
            .collect();
        for (name, args) in &reads {
            self.compare(report, &[step(name, args)]).await?;
        }
        Ok(())
    }

    /// Waits until that many fragments of a journal lie in both stores and are known to both brokers.
    async fn stored(&self, journal: &str, count: usize) -> Result<()> {
        for (broker, _) in [&self.gazette, &self.courant] {
            let talk = Talk::to(&broker.url())?;
            let what = format!("{count} fragments of {journal} at {}", broker.kind.name());
            until(&what, Duration::from_secs(20), || async {
                let request = courant_proto::wire::FragmentsRequest {
                    journal: journal.to_owned(),
                    ..Default::default()
                };
                let fragments = talk.fragments(request).await?.fragments;
                let kept = fragments.iter().filter_map(|f| f.spec.as_ref()).filter(|f| f.mod_time > 0);
                Ok((kept.count() >= count).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Suspending, resuming, resetting, pruning.
    async fn heads(&self, report: &mut Report) -> Result<()> {
        let info = "--log.level=info";
        self.compare(
            report,
            &[
                step("reset-head", "reset-head -l name=acme/plain --log.level=info"),
                step("reset-head: no match", "reset-head -l name=none/such"),
                step("suspend: not flushed", "suspend -l name=acme/plain --log.level=info"),
                step("suspend: never written", "suspend -l name=acme/readonly --log.level=info"),
                step("suspend: forced", "suspend -l name=acme/plain --force --log.level=info"),
                step("suspend: no match", "suspend -l name=none/such"),
                step("list: suspended", "list -l prefix=acme/ -p -r"),
                step("list: suspended, yaml", "list -l name=acme/plain -o yaml"),
                step("read: suspended in part", "read -l name=acme/plain"),
            ],
        )
        .await?;
        // Suspension closes the last one, and has it stored.
        self.stored("acme/plain", 4).await?;
        self.compare(
            report,
            &[
                step("fragments: suspended in part", "fragments -l name=acme/plain -o json"),
                fed("append: resumes", "append -l name=acme/plain -f lines", b"resumed\n"),
                step("list: resumed", "list -l name=acme/plain -o yaml"),
                step("read: resumed", "read -l name=acme/plain"),
                step("prune: dry run", "prune -l name=acme/gzip --dry-run"),
            ],
        )
        .await?;
        // gazctl removes objects by itself, and knows no folder as file:///.
        let (folder, local) =
            (format!("prune -l name=acme/gzip {info}"), format!("prune -l name=more/one {info}"));
        self.compare(
            report,
            &[
                step("prune: a folder", &folder).refused(),
                step("prune: nothing stored", &local),
                step("prune: no match", "prune -l name=none/such").refused(),
            ],
        )
        .await
    }

    async fn ends(&self, report: &mut Report) -> Result<()> {
        self.compare(
            report,
            &[
                step("store-health", "store-health file:///"),
                step("store-health: nobody's scheme", "store-health gopher://x/").refused(),
                step("store-health: no slash", "store-health file:///x").refused(),
                fed("apply: deletes", "apply --log.level=info", DELETIONS),
                fed("apply: deletes at another revision", "apply", WRONG_REVISION).refused(),
                step("list: after deletes", "list -p"),
                step("list: the end", "list -o json"),
            ],
        )
        .await?;
        let _ = self.world;
        Ok(())
    }
}
