//! In processes of their own, because the allocator reads its environment once.

use std::process::Command;

const CHILD: &str = "CONCLAVE_TEST_PURGE_DELAY_CHILD";
/// The name by which the allocator itself knows the option.
const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";

#[test]
fn free_pages_go_back_soon_and_the_environment_has_the_last_word() {
    if std::env::var_os(CHILD).is_some() {
        let before = conclave_memory::purge_delay_ms();
        conclave_memory::give_back_soon();
        println!("delay {before} then {}", conclave_memory::purge_delay_ms());
        return;
    }
    assert_eq!(delays(None), "delay 1000 then 100");
    // It knows the option by this name, so the number that stands for it is right.
    assert_eq!(delays(Some("777")), "delay 777 then 777");
}

/// What a child with this environment reports.
fn delays(variable: Option<&str>) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"));
    child.args(["--nocapture", "--test-threads=1"]).env(CHILD, "1").env_remove(VARIABLE);
    if let Some(value) = variable {
        child.env(VARIABLE, value);
    }
    let said = String::from_utf8(child.output().expect("this program starts").stdout)
        .expect("it says text");
    let line = said.lines().find_map(|line| line.find("delay ").map(|at| line[at..].to_owned()));
    line.unwrap_or_else(|| panic!("no word of a delay in: {said}"))
}
