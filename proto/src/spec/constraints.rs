//! Pure: labels of journals that mean something to Gazette's tools and consumers, and the rules between them.

use crate::invalid::Invalid;
use crate::wire;

/// Media type of the content; how its messages are framed.
pub const CONTENT_TYPE: &str = "content-type";
/// The type of the messages; needs a content type.
pub const MESSAGE_TYPE: &str = "app.gazette.dev/message-type";
/// Refines the type of the messages; needs one.
pub const MESSAGE_SUBTYPE: &str = "app.gazette.dev/message-subtype";
/// Which instance of an application it belongs to.
pub const INSTANCE: &str = "app.gazette.dev/instance";
/// Which tool looks after the spec.
pub const MANAGED_BY: &str = "app.gazette.dev/managed-by";
/// Where it is served.
pub const REGION: &str = "app.gazette.dev/region";

/// Labels that a journal may have once.
const SINGLE_VALUED: [&str; 6] = [INSTANCE, MANAGED_BY, MESSAGE_SUBTYPE, MESSAGE_TYPE, REGION, CONTENT_TYPE];

/// Checks what labels mean together; each by itself, and their order, has been checked before.
///
/// # Errors
/// When a label stands twice that may stand once, the content type is no media type, or a label lacks another that
/// it needs.
pub fn check_label_constraints(set: &wire::LabelSet) -> Result<(), Invalid> {
    let labels = &set.labels;
    for (index, pair) in labels.windows(2).enumerate() {
        let [first, second] = pair else { continue };
        if first.name == second.name && SINGLE_VALUED.contains(&&*second.name) {
            return Err(Invalid::new(format!(
                "expected single-value Label has multiple values (index {}; label {} value {})",
                index + 1,
                second.name,
                second.value
            )));
        }
    }
    let value_of = |name: &str| labels.iter().find(|label| label.name == name).map(|label| &*label.value);
    if let Some(content_type) = value_of(CONTENT_TYPE) {
        check_media_type(content_type)
            .map_err(|why| Invalid::new(format!("parsing {CONTENT_TYPE}: mime: {why}")))?;
    }
    for (label, needed, text) in [
        (MESSAGE_TYPE, CONTENT_TYPE, "content-type label"),
        (MESSAGE_SUBTYPE, MESSAGE_TYPE, "app.gazette.dev/message-type label"),
    ] {
        if value_of(label).is_some() && value_of(needed).is_none() {
            return Err(Invalid::new(format!("expected {text} alongside {label}")));
        }
    }
    Ok(())
}

/// One or two tokens with a slash between them. Parameters cannot occur: `;` is no character of a label.
fn check_media_type(text: &str) -> Result<(), &'static str> {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
    let token_end = |text: &str| text.find(|c| !is_token(c)).unwrap_or(text.len());
    if text.is_empty() {
        return Err("no media type");
    }
    let (kind, rest) = text.split_at(token_end(text));
    if kind.is_empty() {
        return Err("no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let Some(subtype) = rest.strip_prefix('/') else {
        return Err("expected slash after first token");
    };
    match token_end(subtype) {
        0 => Err("expected token after slash"),
        end if end < subtype.len() => Err("unexpected content after media subtype"),
        _ => Ok(()),
    }
}
