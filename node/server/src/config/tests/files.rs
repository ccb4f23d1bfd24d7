//! Several files, and directories of them.

use super::*;

const STORAGE: &str = "storage \"raft\" { path = \"data\" node_id = \"n\" }";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        std::fs::write(path, text).expect("writable");
    }
    folder
}

#[test]
fn later_files_replace_scalars_and_single_blocks_and_add_listeners() {
    let folder = folder(&[
        ("a.hcl", "log_level = \"warn\"\nlistener \"tcp\" { address = \"127.0.0.1:8200\" }"),
        ("b.json", r#"{"log_level": "error", "cluster_name": "b"}"#),
        ("c.hcl", "listener \"tcp\" { address = \"127.0.0.1:8300\" }"),
        ("d.hcl", STORAGE),
        ("sub/e.hcl", "storage \"raft\" { path = \"other\" node_id = \"e\" }"),
    ]);
    let one = Config::load(&[folder.path().to_owned()]).expect("valid together");
    assert_eq!(one.log_level, LogLevel::Error);
    assert_eq!(one.cluster_name, "b");
    let addresses: Vec<_> = one.listeners.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:8200", "127.0.0.1:8300"]);
    assert_eq!(one.storage.path, folder.path().join("data"), "the directory below is not read");
    let more = Config::load(&[folder.path().to_owned(), folder.path().join("sub/e.hcl")]);
    let more = more.expect("valid together");
    assert_eq!(more.storage.path, folder.path().join("sub/other"), "from its own directory");
    assert_eq!(more.storage.node_name.as_str(), "e");
}

#[test]
fn what_editors_leave_is_no_configuration() {
    let folder = folder(&[
        ("a.hcl", STORAGE),
        ("b.hcl", "listener \"tcp\" {}"),
        (".a.hcl", "{"),
        ("#a.hcl", "{"),
        ("a.hcl~", "{"),
        ("readme.txt", "{"),
    ]);
    Config::load(&[folder.path().to_owned()]).expect("the others are not read");
}

#[test]
fn errors_name_the_file() {
    let folder =
        folder(&[("a.hcl", STORAGE), ("b.hcl", "listener \"tcp\" {\n  adress = \"x\"\n}")]);
    let file = folder.path().join("b.hcl");
    let error = Config::load(&[folder.path().to_owned()]).expect_err("a slip").to_string();
    let expected = "unknown key `listener.tcp.adress`; did you mean `address`?";
    assert_eq!(error, format!("{}:2:3: {expected}", file.display()));
    let error = Config::load(&[folder.path().join("a.hcl")]).expect_err("no listener").to_string();
    let expected = "`listener` is missing; set it to a block `listener \"tcp\"` with an `address`";
    assert_eq!(error, format!("{}: {expected}", folder.path().join("a.hcl").display()));
}

#[test]
fn a_directory_without_a_configuration_is_named() {
    let folder = folder(&[("readme.txt", "")]);
    let error = Config::load(&[folder.path().to_owned()]).expect_err("nothing there").to_string();
    assert!(error.contains("it holds no file whose name ends in .hcl or .json"), "{error}");
}
