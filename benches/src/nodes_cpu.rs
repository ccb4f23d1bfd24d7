//! CPU time of processes, from `/proc`.

use anyhow::Context;

/// User and system seconds that these processes have used.
pub(crate) fn seconds(pids: &[u32]) -> anyhow::Result<f64> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut total = 0.0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command name, in parentheses, may hold blanks.
        let rest = stat.rsplit_once(')').context("/proc stat")?.1;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let of = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        total += (of(UTIME) + of(STIME)) / ticks;
    }
    Ok(total)
}

/// Places behind the command name; `man 5 proc` counts them as 14 and 15.
const UTIME: usize = 11;
const STIME: usize = 12;
