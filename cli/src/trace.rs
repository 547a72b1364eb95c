//! Logs: on stderr, as text or JSON, at the level that was asked for. It does not know who logs what.

use tracing_subscriber::EnvFilter;

use crate::args::{Log, LogFormat};
use crate::failure::Failure;

const LEVELS: [&str; 7] = ["trace", "debug", "info", "warn", "error", "fatal", "off"];

/// Starts logging for the whole process. `level` holds where none was asked for.
pub(crate) fn start(log: &Log, level: &str) -> Result<(), Failure> {
    let level = log.log_level.as_deref().unwrap_or(level);
    let refuse = |reason: &str| {
        Failure::usage([format!(
            "--log-level (COURANT_LOG_LEVEL) {level:?}: {reason} (expected trace, debug, info, warn, error or off)"
        )])
    };
    // A filter takes any word for the name of a module, and a misspelt level would be silence.
    if !level.contains('=') && !LEVELS.contains(&level) {
        return Err(refuse("unknown level"));
    }
    // What is fatal elsewhere is an error here.
    let level = if level == "fatal" { "error" } else { level };
    let filter = EnvFilter::try_new(level).map_err(|error| refuse(&error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.log_format {
        LogFormat::Text => builder.with_ansi(crate::output::is_colourful(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
