//! Where the token is kept: the flag, the environment, and what `login` leaves: a file, or whatever
//! a helper program does with it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conclave_hcl::Value;

use crate::commands::Failure;
use crate::environment::Environment;

/// The token to act with, if there is any.
pub(crate) fn find(
    flag: Option<&str>,
    environment: &Environment,
) -> Result<Option<String>, Failure> {
    let given = flag.filter(|token| !token.is_empty()).or_else(|| environment.get("TOKEN"));
    match given {
        Some(token) => Ok(Some(token.to_owned())),
        None => Store::of(environment)?.map_or(Ok(None), |store| store.get()),
    }
}

/// Where `login` keeps a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// In this file, readable to its owner only.
    File(PathBuf),
    /// By this program, which is told `get`, `store` or `erase`.
    Helper(PathBuf),
}

impl Store {
    /// As the user's configuration says; `None` where the user has no home.
    pub(crate) fn of(environment: &Environment) -> Result<Option<Self>, Failure> {
        if let Some(helper) = helper(environment)? {
            return Ok(Some(Self::Helper(helper)));
        }
        Ok(match environment.get("TOKEN_PATH") {
            Some(path) => Some(Self::File(path.into())),
            None => environment.home().map(|home| Self::File(home.join(FILE))),
        })
    }

    /// What is kept.
    fn get(&self) -> Result<Option<String>, Failure> {
        let text = match self {
            // Most users have no such file; who needs a token then is told so by the cluster.
            Self::File(path) => fs::read_to_string(path).unwrap_or_default(),
            Self::Helper(program) => ask(program, "get", None)?,
        };
        let token = text.trim();
        Ok((!token.is_empty()).then(|| token.to_owned()))
    }

    /// Keeps `token`.
    pub(crate) fn put(&self, token: &str) -> Result<(), Failure> {
        match self {
            Self::File(path) => replace(path, token).map_err(|error| {
                let path = path.display();
                Failure::local(format!("the token cannot be kept in {path}: {error}; correct it"))
            }),
            Self::Helper(program) => ask(program, "store", Some(token)).map(drop),
        }
    }
}

/// The file gets its name once it is whole; nobody else could ever read it.
fn replace(path: &Path, token: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let draft = path.with_file_name(name);
    let written = File::options().write(true).create_new(true).mode(0o600).open(&draft).and_then(
        |mut file| {
            file.write_all(token.as_bytes())?;
            file.sync_all()
        },
    );
    written.and_then(|()| fs::rename(&draft, path)).inspect_err(|_| {
        // It may not be there; the first error is the one to tell.
        let _ = fs::remove_file(&draft);
    })
}

fn ask(program: &Path, word: &str, token: Option<&str>) -> Result<String, Failure> {
    let failed = |why: String| {
        let program = program.display();
        Failure::local(format!("the token helper {program} cannot {word}: {why}; check it"))
    };
    let asked = || -> io::Result<_> {
        let mut child =
            Command::new(program).arg(word).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(token.unwrap_or_default().as_bytes())?;
        drop(stdin);
        child.wait_with_output()
    };
    let output = asked().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("its answer is no text".into()))
}

/// The program that the configuration file names under `token_helper`.
fn helper(environment: &Environment) -> Result<Option<PathBuf>, Failure> {
    let home = environment.home().unwrap_or_default();
    let named = environment.get("CONFIG_PATH").map(PathBuf::from);
    let files = named.into_iter().chain(CONFIGURATIONS.map(|name| home.join(name)));
    let found = files.into_iter().find_map(|path| Some((fs::read_to_string(&path).ok()?, path)));
    let Some((text, path)) = found else { return Ok(None) };
    let body = conclave_hcl::parse(&text)
        .map_err(|error| Failure::local(format!("{}:{error}; correct the file", path.display())))?;
    Ok(match body.get("token_helper").next().map(|item| &item.value) {
        Some(Value::String(program)) if !program.is_empty() => Some(program.into()),
        _ => None,
    })
}

/// In the user's home.
const FILE: &str = ".vault-token";
/// In the user's home; the first that is there counts.
const CONFIGURATIONS: [&str; 3] = [".conclave", ".bao", ".vault"];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn found(flag: Option<&str>, environment: &Environment) -> Option<String> {
        find(flag, environment).expect("a readable configuration")
    }

    #[test]
    fn the_flag_wins_then_the_variable_then_the_file() {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(FILE), "from-file\n").expect("a file");
        let home = home.path().to_str().expect("text");
        let with_variable = Environment::of([("HOME", home), ("VAULT_TOKEN", "from-variable")]);
        assert_eq!(found(Some("from-flag"), &with_variable).as_deref(), Some("from-flag"));
        assert_eq!(found(None, &with_variable).as_deref(), Some("from-variable"));
        let without = Environment::of([("HOME", home)]);
        assert_eq!(found(None, &without).as_deref(), Some("from-file"));
        assert_eq!(found(None, &Environment::of([("HOME", "/nowhere")])), None);
    }

    #[test]
    fn a_kept_token_is_for_its_owner_only() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join(FILE);
        fs::write(&path, "old").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("open to all");
        let home = home.path().to_str().expect("text");
        let environment = Environment::of([("HOME", home)]);
        let store = Store::of(&environment).expect("readable").expect("there is a home");
        store.put("hvs.new").expect("kept");
        assert_eq!(found(None, &environment).as_deref(), Some("hvs.new"));
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(home).expect("listed").count(), 1);
        let nowhere = Store::File("/nowhere/token".into()).put("hvs.canary");
        let failure = nowhere.expect_err("no such folder").to_string();
        assert!(failure.contains("/nowhere/token") && !failure.contains("canary"), "{failure}");
    }

    #[test]
    fn a_helper_keeps_it_where_the_configuration_names_one() {
        let home = tempfile::tempdir().expect("a folder");
        let (program, kept) = (home.path().join("helper"), home.path().join("kept"));
        let script = format!(
            "#!/bin/sh\ncase $1 in store) cat > {0};; get) cat {0};; *) exit 3;; esac\n",
            kept.display()
        );
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
        let line = format!("token_helper = \"{}\"\n", program.display());
        fs::write(home.path().join(".vault"), line).expect("written");
        let environment = Environment::of([("HOME", home.path().to_str().expect("text"))]);
        let store = Store::of(&environment).expect("readable").expect("there is one");
        assert_eq!(store, Store::Helper(program));
        assert_eq!(find(None, &environment).map_err(|failure| failure.exit_code()), Err(1));
        store.put("hvs.kept").expect("kept");
        assert_eq!(found(None, &environment).as_deref(), Some("hvs.kept"));
        fs::write(home.path().join(".vault"), "token_helper = ").expect("written");
        let broken = find(None, &environment).expect_err("not HCL").to_string();
        assert!(broken.contains(".vault:1:"), "{broken}");
    }
}
