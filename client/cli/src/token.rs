//! Where the token comes from: the flag, the environment, the file that `login` leaves.

use crate::environment::Environment;

/// The token to act with, if there is any.
pub(crate) fn find(flag: Option<&str>, environment: &Environment) -> Option<String> {
    let given = flag.filter(|token| !token.is_empty()).or_else(|| environment.get("TOKEN"));
    match given {
        Some(token) => Some(token.to_owned()),
        None => from_file(environment),
    }
}

fn from_file(environment: &Environment) -> Option<String> {
    let path = match environment.get("TOKEN_PATH") {
        Some(path) => path.into(),
        None => environment.home()?.join(FILE),
    };
    // Most users have no such file; who needs a token then is told so by the cluster.
    let text = std::fs::read_to_string(path).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// In the user's home.
const FILE: &str = ".vault-token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_then_the_variable_then_the_file() {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join(FILE), "from-file\n").expect("a file");
        let home = home.path().to_str().expect("text");
        let with_variable = Environment::of([("HOME", home), ("VAULT_TOKEN", "from-variable")]);
        assert_eq!(find(Some("from-flag"), &with_variable).as_deref(), Some("from-flag"));
        assert_eq!(find(None, &with_variable).as_deref(), Some("from-variable"));
        let without = Environment::of([("HOME", home)]);
        assert_eq!(find(None, &without).as_deref(), Some("from-file"));
        assert_eq!(find(None, &Environment::of([("HOME", "/nowhere")])), None);
    }
}
