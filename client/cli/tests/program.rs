//! The program as a shell sees it: exit codes, and what goes to which stream.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_conclave");

fn run_program(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("VAULT_MAX_RETRIES", "0")
        .envs(variables.iter().copied());
    loop {
        match command.output() {
            // Another test forked while this program was written; its child lets go when it execs.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
            output => return output.expect("the program starts"),
        }
    }
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = run_program(Path::new(PROGRAM), arguments, &[]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

/// Nobody listens there: the port was free a moment ago.
fn dead_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("-address=https://{}", listener.local_addr().expect("an address"))
}

#[test]
fn answers_go_to_standard_output_and_are_zero() {
    for arguments in [&["version"][..], &["-version"], &["--help"], &["kv", "put", "-help"]] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!stdout.is_empty(), "{arguments:?}");
    }
    let (_, stdout, _) = run(&["version", "-format=json"]);
    assert!(stdout.starts_with("{\n  \"version\": "), "{stdout}");
}

#[test]
fn mistakes_on_this_side_are_one() {
    for arguments in [
        &["no-such-command"][..],
        &["status", "-no-such-flag"],
        &["kv", "put", "secret/a"],
        &["kv", "put", "-tls-skip-verify", "secret/a", "novalue"],
        &["kv", "put", "-cas=x", "secret/a", "k=v"],
        &["kv", "get", "-tls-skip-verify", "secret"],
        &["kv", "get", "-address=http://192.0.2.1:1", "secret/a"],
        &["kv", "get", "-ca-cert=/nonexistent", "secret/a"],
        &["operator", "unseal", "-tls-skip-verify", "not a key"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_two_but_one_for_status() {
    let address = dead_address();
    let (code, stdout, stderr) = run(&["kv", "get", &address, "-tls-skip-verify", "secret/a"]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("no node answered"), "{stderr}");
    let (code, _, stderr) = run(&["status", &address, "-tls-skip-verify=true"]);
    assert_eq!(code, 1, "{stderr}");
}

#[test]
fn the_environment_is_read() {
    let variables = [("VAULT_ADDR", "http://a:1"), ("VAULT_TOKEN", "hvs.canary")];
    let output =
        run_program(Path::new(PROGRAM), &["kv", "get", "-tls-skip-verify", "secret/a"], &variables);
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("http://a:1") && !stderr.contains("canary"), "{stderr}");
}

#[test]
fn server_becomes_the_sibling_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("conclave");
    std::fs::copy(PROGRAM, &copy).expect("copied");
    let output = run_program(&copy, &["server", "-config=a"], &[("PATH", "/nonexistent")]);
    assert_eq!(output.status.code(), Some(1));
    let sibling = folder.path().join("conclaved");
    std::fs::write(&sibling, "#!/bin/sh\necho \"$@\"\nexit 7\n").expect("written");
    std::fs::set_permissions(&sibling, PermissionsExt::from_mode(0o755)).expect("executable");
    let output = run_program(&copy, &["server", "-config=a", "-h"], &[]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"server --config=a -h\n");
}
