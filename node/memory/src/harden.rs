//! What a process can do once to keep its memory to itself.

/// No core dumps, not traceable by other processes of the same user.
///
/// Sets `RLIMIT_CORE` to 0 (soft and hard) and clears the dumpable flag. Best effort: returns what
/// could not be done, as sentences for the log. Call it first in `main`, before any key exists.
pub fn harden_process() -> Vec<String> {
    [no_core_dumps(), not_traceable()].into_iter().flatten().collect()
}

fn no_core_dumps() -> Option<String> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let error = setrlimit(Resource::Core, none).err()?;
    Some(format!("core dumps cannot be switched off ({error}); set the limit of core files to 0"))
}

#[cfg(target_os = "linux")]
fn not_traceable() -> Option<String> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let error = set_dumpable_behavior(DumpableBehavior::NotDumpable).err()?;
    Some(format!("the process can be traced ({error}); run it under a user of its own"))
}

#[cfg(not(target_os = "linux"))]
fn not_traceable() -> Option<String> {
    Some("this system has no dumpable flag; run the process under a user of its own".to_owned())
}
