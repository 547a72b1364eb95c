//! `courant members list`: the brokers of a cluster, as the one that is asked sees them.

use std::process::ExitCode;

use courant_proto::json::{Json, Naming, to_string};
use courant_proto::wire::courant::MembersResponse;
use courant_proto::wire::courant::members_response::Member;

use crate::args::{Form, MembersArgs, MembersCommand, MembersListArgs};
use crate::failure::Failure;
use crate::output;
use crate::session::{self, Session};

const HEADINGS: [&str; 8] = ["Zone", "Id", "Endpoint", "Kind", "Replicas", "Primaries", "Limit", "State"];

/// Runs one verb.
pub(crate) fn run(args: MembersArgs) -> Result<ExitCode, Failure> {
    session::run(async {
        let session = Session::connect(&args.at)?;
        match args.command {
            MembersCommand::List(args) => list(&session, &args).await,
        }
    })
}

async fn list(session: &Session, args: &MembersListArgs) -> Result<(), Failure> {
    let response = session.client.members().await;
    let response = response.map_err(|error| session.failure("cannot list the members", &error))?;
    output::print(&render(&response, args.format)?)
}

fn render(response: &MembersResponse, form: Form) -> Result<String, Failure> {
    match form {
        Form::Table => {
            let headings = HEADINGS.map(str::to_owned);
            Ok(output::table(&headings, response.members.iter().map(row).collect()))
        }
        Form::Json => Ok(to_string(response, Naming::Original) + "\n"),
        Form::Yaml => serde_saphyr::to_string(&Json::new(response, Naming::Original)).map_err(|error| {
            Failure::failed([format!("cannot print the members as YAML: {error}; try --format json")])
        }),
    }
}

fn row(member: &Member) -> Vec<String> {
    let spec = member.spec.clone().unwrap_or_default();
    let process = spec.process_spec.unwrap_or_default();
    let id = process.id.unwrap_or_default();
    let kind = match member.version.as_str() {
        "" => "gazette".to_owned(),
        version => format!("courant {version}"),
    };
    let mut state = Vec::new();
    if member.leader {
        state.push("leader".to_owned());
    }
    if spec.exiting {
        state.push("exiting".to_owned());
    }
    if !member.suspected_by.is_empty() {
        let by: Vec<&str> = member.suspected_by.iter().map(|id| id.suffix.as_str()).collect();
        state.push(format!("suspected by {}", by.join(",")));
    }
    vec![
        id.zone,
        id.suffix,
        process.endpoint,
        kind,
        member.replicas.to_string(),
        member.primaries.to_string(),
        spec.journal_limit.to_string(),
        state.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use courant_proto::json;
    use courant_proto::wire;

    use super::*;

    fn response() -> MembersResponse {
        let id = |suffix: &str| wire::process_spec::Id { zone: "a".into(), suffix: suffix.into() };
        let spec = |suffix: &str, exiting| wire::BrokerSpec {
            process_spec: Some(wire::ProcessSpec {
                id: Some(id(suffix)),
                endpoint: format!("http://{suffix}:8080"),
            }),
            journal_limit: 1024,
            exiting,
        };
        MembersResponse {
            header: Some(wire::Header::default()),
            members: vec![
                Member {
                    spec: Some(spec("broker-1", false)),
                    create_revision: 7,
                    replicas: 12,
                    primaries: 4,
                    version: "1.2.3".into(),
                    suspected_by: Vec::new(),
                    leader: true,
                },
                Member {
                    spec: Some(spec("broker-2", true)),
                    create_revision: 8,
                    suspected_by: vec![id("broker-1"), id("broker-3")],
                    ..Default::default()
                },
            ],
        }
    }

    #[test]
    fn the_table_tells_what_each_is_and_holds() {
        let expected = "\
┌──────┬──────────┬──────────────────────┬───────────────┬──────────┬───────────┬───────┬─────────────────────────────────────────┐
│ ZONE │    ID    │       ENDPOINT       │      KIND     │ REPLICAS │ PRIMARIES │ LIMIT │                  STATE                  │
├──────┼──────────┼──────────────────────┼───────────────┼──────────┼───────────┼───────┼─────────────────────────────────────────┤
│ a    │ broker-1 │ http://broker-1:8080 │ courant 1.2.3 │ 12       │ 4         │ 1024  │ leader                                  │
│ a    │ broker-2 │ http://broker-2:8080 │ gazette       │ 0        │ 0         │ 1024  │ exiting, suspected by broker-1,broker-3 │
└──────┴──────────┴──────────────────────┴───────────────┴──────────┴───────────┴───────┴─────────────────────────────────────────┘
";
        assert_eq!(render(&response(), Form::Table).unwrap(), expected);
    }

    #[test]
    fn programs_get_the_answer_as_it_is() {
        let text = render(&response(), Form::Json).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(json::from_slice::<MembersResponse>(text.as_bytes()).unwrap().members, response().members);
        let text = render(&response(), Form::Yaml).unwrap();
        assert!(text.contains("endpoint: http://broker-1:8080") && text.contains("leader: true"), "{text}");
    }
}
