//! Pure: the profiles in AWS's two files, `credentials` and `config`.

use std::collections::BTreeMap;
use std::fmt;

/// One profile, as both files together have it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Profile {
    settings: BTreeMap<String, String>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.settings.keys()).finish()
    }
}

impl Profile {
    /// Finds a profile. What `credentials` says of it counts before what `config` says. None if neither file
    /// knows it.
    pub(super) fn find(name: &str, credentials: &str, config: &str) -> Option<Self> {
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        // Some write `[profile default]`, and it is read.
        let sections = [
            section(config, &format!("profile {name}")),
            section(config, &in_config),
            section(credentials, name),
        ];
        let mut settings = BTreeMap::new();
        for section in sections.iter().flatten() {
            settings.extend(section.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        sections.iter().any(Option::is_some).then_some(Self { settings })
    }

    /// A setting. An empty one counts as none.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The settings of a section, of all its occurrences together. None if there is no such section.
fn section(text: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut is_inside = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            is_inside = header.split_whitespace().eq(name.split_whitespace());
            if is_inside {
                found.get_or_insert_default();
            }
            continue;
        }
        // Indented lines are settings of a setting, such as those of `s3 =`.
        if let (true, false, Some((key, value))) = (is_inside, is_nested, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            found.get_or_insert_default().insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "
# a comment
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key=a=b/c+

[ other ]
AWS_ACCESS_KEY_ID=OTHER
aws_secret_access_key = hidden # of the team
aws_session_token = token
region =
not a setting
[other]
later = yes
";

    const CONFIG: &str = "
[default]
region = eu-west-1
s3 =
    region = nested
    addressing_style = path
[profile   other]
region = us-east-2
aws_access_key_id = FROM_CONFIG
[profile web]
role_arn = arn:aws:iam::1:role/x
[services x]
region = none
";

    #[test]
    fn both_files_make_a_profile() {
        let check = |name: &str, expected: &[(&str, Option<&str>)]| {
            let profile = Profile::find(name, CREDENTIALS, CONFIG).expect(name);
            for (key, value) in expected {
                assert_eq!(profile.get(key), *value, "{name}: {key}");
            }
        };
        check(
            "default",
            &[
                ("aws_access_key_id", Some("DEFAULT")),
                ("aws_secret_access_key", Some("a=b/c+")),
                ("region", Some("eu-west-1")),
                ("addressing_style", None),
            ],
        );
        check(
            "other",
            &[
                ("aws_access_key_id", Some("OTHER")),
                ("aws_secret_access_key", Some("hidden")),
                ("aws_session_token", Some("token")),
                ("later", Some("yes")),
                ("missing", None),
            ],
        );
        check("web", &[("role_arn", Some("arn:aws:iam::1:role/x")), ("aws_access_key_id", None)]);
        assert_eq!(Profile::find("none", CREDENTIALS, CONFIG), None);
        assert_eq!(Profile::find("services x", "", CONFIG), None);
    }

    #[test]
    fn an_empty_setting_is_overridden_by_nobody() {
        let profile = Profile::find("other", CREDENTIALS, CONFIG).expect("a profile");
        assert_eq!(profile.get("region"), None);
    }

    #[test]
    fn values_are_not_shown() {
        let profile = Profile::find("other", CREDENTIALS, CONFIG).expect("a profile");
        let shown = format!("{profile:?}");
        assert!(!shown.contains("hidden") && !shown.contains("token\":"), "{shown}");
    }

    #[test]
    fn any_text_is_read() {
        for text in ["[", "]", "[]", "=", "[default", "\u{0}", "[default]\n=x\nx\n x=y", "\u{feff}[default]"]
        {
            let _ = Profile::find("default", text, text);
        }
    }
}
