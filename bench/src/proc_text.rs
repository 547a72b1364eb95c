//! Pure: what Linux tells of a process in `/proc/PID/stat` and `/proc/PID/status`, and of the machine in
//! `/proc/cpuinfo` and `/proc/meminfo`.

use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time, with that of children that were waited for beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) own: Duration,
    pub(crate) children: Duration,
}

/// Processor time out of a `stat` line, where times are in ticks of the clock.
///
/// # Errors
/// A line without those fields.
pub(crate) fn cpu(stat: &str, ticks_per_second: u64) -> Result<Cpu> {
    // The second field is a name in parentheses, in which anything may stand.
    let (_, behind) = stat.rsplit_once(')').context("no command in /proc/PID/stat")?;
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    // The third field of the line is the first here; utime, stime, cutime and cstime are fields 14 to 17.
    let ticks = |field: usize| -> Result<u64> {
        let text = fields.get(field - 3).with_context(|| format!("no field {field} in /proc/PID/stat"))?;
        text.parse().with_context(|| format!("field {field} of /proc/PID/stat is {text:?} (expected ticks)"))
    };
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second.max(1) as f64);
    Ok(Cpu { own: time(ticks(14)? + ticks(15)?), children: time(ticks(16)? + ticks(17)?) })
}

/// Resident memory in bytes, out of `status`.
///
/// # Errors
/// A text without it.
pub(crate) fn resident_bytes(status: &str) -> Result<u64> {
    kib_field(status, "VmRSS").map(|kib| kib * 1024).context("no VmRSS in /proc/PID/status")
}

/// A field in KiB of `status` or `meminfo`.
pub(crate) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The model of the first processor.
pub(crate) fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let (_, model) = cpuinfo.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4711 (co)ur ant) S 1 4711 1 0 -1 4194560 100 0 0 0 250 50 7 3 20 0 4 0 12345 1000 200";

    #[test]
    fn processor_time() {
        let expected = Cpu { own: Duration::from_secs(3), children: Duration::from_millis(100) };
        assert_eq!(cpu(STAT, 100).unwrap(), expected);
        assert_eq!(cpu(STAT, 1000).unwrap().own, Duration::from_millis(300));
    }

    #[test]
    fn broken_lines_are_refused() {
        let check =
            |stat: &str, expected: &str| assert_eq!(cpu(stat, 100).unwrap_err().to_string(), expected);
        check("1 courant", "no command in /proc/PID/stat");
        check("1 (c) S 1 2 3", "no field 14 in /proc/PID/stat");
        check(&STAT.replace(" 250 ", " x "), "field 14 of /proc/PID/stat is \"x\" (expected ticks)");
    }

    #[test]
    fn memory_and_model() {
        assert_eq!(resident_bytes("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t   2048 kB\n").unwrap(), 2 << 20);
        assert!(resident_bytes("VmRSS:\t12\n").is_err());
        assert!(resident_bytes("").is_err());
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Fast One\n"), Some("Fast One"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
