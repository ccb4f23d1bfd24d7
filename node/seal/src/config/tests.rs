use super::*;
use crate::make_shamir;
use crate::testing::{TestRng, initialised};

/// A key whose base64 differs by alphabet: it has `+` and `/`.
fn key() -> [u8; 32] {
    std::array::from_fn(|at| if at % 2 == 0 { 0xfb } else { 0xef })
}

struct KeyFile(tempfile::TempDir);

impl KeyFile {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("seal.key"), content).unwrap();
        Self(folder)
    }

    fn config(&self) -> SealConfig {
        SealConfig::Static { key_file: Some(self.0.path().join("seal.key")), key_env: None }
    }
}

fn provider_error<T>(result: Result<T, SealError>) -> String {
    match result {
        Err(SealError::Provider(why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn every_spelling_of_a_key_unseals() {
    let raw = KeyFile::new(&key());
    let (record, root_key) = initialised(vec![static_recipient(&raw.config()).unwrap()]);
    let standard = STANDARD.encode(key());
    let url_safe = URL_SAFE.encode(key());
    assert!(standard.contains(['+', '/']) && url_safe.contains(['-', '_']));
    let hex = hex::encode(key());
    let spellings = [
        standard.clone(),
        standard.trim_end_matches('=').to_owned(),
        format!("{standard}\n"),
        url_safe,
        hex.clone(),
        hex.to_uppercase(),
        format!("  {hex}\r\n"),
    ];
    for spelling in spellings {
        let file = KeyFile::new(spelling.as_bytes());
        let opened = auto_unseal(&file.config(), &record).unwrap().expect("a static recipient");
        assert_eq!(opened.danger_expose(), &root_key, "{spelling:?}");
    }
    let opened = auto_unseal(&raw.config(), &record).unwrap().unwrap();
    assert_eq!(opened.danger_expose(), &root_key);
}

#[test]
fn the_recipient_says_what_it_is() {
    let recipient = static_recipient(&KeyFile::new(&key()).config()).unwrap();
    assert_eq!((recipient.kind.as_str(), recipient.shares, recipient.threshold), ("static", 1, 1));
}

/// What is not a key is refused, and no error has any of what stands there.
#[test]
fn bad_keys_are_refused_without_being_shown() {
    let canary = "canarycanary";
    let contents = [
        String::new(),
        "\n".to_owned(),
        canary.to_owned(),
        // 32 hex digits are a key of 16 bytes.
        hex::encode([0xca; 16]),
        hex::encode([0xca; 31]),
        STANDARD.encode([0xca; 31]),
        STANDARD.encode([0xca; 33]),
        canary.repeat(1000),
        format!("{} {}", hex::encode([0xca; 16]), hex::encode([0xca; 16])),
    ];
    for content in contents {
        let why = provider_error(static_recipient(&KeyFile::new(content.as_bytes()).config()));
        assert!(why.contains("seal.key") && why.contains("32 bytes"), "{why}");
        assert!(!why.contains("canary") && !why.contains("caca"), "{why}");
    }
}

#[test]
fn an_absent_key_says_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = Some(folder.path().join("absent.key"));
    let why = provider_error(static_recipient(&SealConfig::Static { key_file, key_env: None }));
    assert!(why.contains("absent.key") && why.contains("not found"), "{why}");
    let key_env = Some("CONCLAVE_TEST_UNSET".to_owned());
    let why = provider_error(static_recipient(&SealConfig::Static { key_file: None, key_env }));
    assert!(why.contains("CONCLAVE_TEST_UNSET is not set"), "{why}");
    let nothing = SealConfig::Static { key_file: None, key_env: None };
    provider_error(static_recipient(&nothing));
    provider_error(static_recipient(&SealConfig::Shamir));
}

/// A process cannot safely set its own variables, so this test runs itself again with one set.
#[test]
fn a_variable_is_read() {
    const VARIABLE: &str = "CONCLAVE_TEST_SEAL_KEY";
    let from_variable = SealConfig::Static { key_file: None, key_env: Some(VARIABLE.to_owned()) };
    match std::env::var(VARIABLE).as_deref() {
        Ok("no key") => {
            let why = provider_error(static_recipient(&from_variable));
            assert!(why.contains("CONCLAVE_TEST_SEAL_KEY does not hold"), "{why}");
        }
        Ok(_) => {
            let file = KeyFile::new(&key());
            let (record, _) = initialised(vec![static_recipient(&file.config()).unwrap()]);
            assert!(auto_unseal(&from_variable, &record).unwrap().is_some());
        }
        Err(_) => {
            for value in ["no key".to_owned(), hex::encode(key())] {
                let status = std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "config::tests::a_variable_is_read"])
                    .env(VARIABLE, value)
                    .stdout(std::process::Stdio::null())
                    .status()
                    .unwrap();
                assert!(status.success());
            }
        }
    }
}

#[test]
fn a_cluster_without_a_static_recipient_is_left_to_people() {
    let (recipient, _) = make_shamir(&TestRng::new(1), 3, 2).unwrap();
    let (record, _) = initialised(vec![recipient]);
    let file = KeyFile::new(&key());
    assert!(auto_unseal(&file.config(), &record).unwrap().is_none());
    assert!(auto_unseal(&SealConfig::Shamir, &record).unwrap().is_none());
}

#[test]
fn another_clusters_key_is_told() {
    let (record, _) = initialised(vec![static_recipient(&KeyFile::new(&key()).config()).unwrap()]);
    let other = KeyFile::new(&[9; 32]);
    let why = provider_error(auto_unseal(&other.config(), &record));
    assert!(why.contains("not the key this cluster"), "{why}");
}
