//! In a process of its own, because hardening cannot be undone and hides `/proc/self` from others.

#[test]
#[cfg(target_os = "linux")]
fn a_hardened_process_dumps_no_core_and_is_not_dumpable() {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
    assert_eq!(conclave_memory::harden_process(), Vec::<String>::new());
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
}
