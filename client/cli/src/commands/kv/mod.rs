//! `conclave kv`: versioned secrets (KV version 2).

mod delete;
mod get;
mod list;
mod put;

use clap::{Args, Subcommand};

use super::{Context, Failure};
use crate::output::Output;

/// Versioned secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum Kv {
    /// Write a new version of a secret
    Put(put::Put),
    /// Read a secret
    Get(get::Get),
    /// List the names below a path; those that end in `/` have more below them
    List(list::List),
    /// Delete versions of a secret, the newest by default; they can be brought back
    Delete(delete::Delete),
}

impl Kv {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Put(put) => put.run(context).await,
            Self::Get(get) => get.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

/// Which secret.
#[derive(Debug, Args)]
struct Place {
    /// The mount; without it the first part of the path is the mount
    #[arg(long, value_name = "MOUNT")]
    mount: Option<String>,
    /// The path, `secret/app/database`, or with -mount `app/database`
    #[arg(value_name = "PATH")]
    path: String,
}

impl Place {
    /// The API's path: the mount, the kind of record, the rest.
    fn api_path(&self, kind: &str) -> Result<String, Failure> {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        let (mount, rest) = match &self.mount {
            Some(mount) => (mount.trim_matches('/'), path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        if mount.is_empty() {
            return Err(Failure::local("the path has no mount; write secret/NAME".into()));
        }
        Ok(format!("{mount}/{kind}/{rest}"))
    }

    /// The same for one secret, which has a name.
    fn secret_path(&self, kind: &str) -> Result<String, Failure> {
        let path = self.api_path(kind)?;
        if path.ends_with('/') {
            let message = "the path names no secret; write secret/NAME, or -mount=secret NAME";
            return Err(Failure::local(message.into()));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(mount: Option<&str>, path: &str) -> Option<String> {
        let place = Place { mount: mount.map(str::to_owned), path: path.to_owned() };
        place.secret_path("data").ok()
    }

    #[test]
    fn the_mount_is_a_flag_or_the_first_part() {
        let expected = Some("secret/data/app/db".to_owned());
        assert_eq!(path(None, "secret/app/db"), expected);
        assert_eq!(path(None, "/secret/app/db"), expected);
        assert_eq!(path(Some("secret/"), "app/db"), expected);
        assert_eq!(path(Some("team/kv"), "a"), Some("team/kv/data/a".to_owned()));
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        assert_eq!(path(None, "secret"), None);
        assert_eq!(path(None, "secret/app/"), None);
        assert_eq!(path(Some(""), "a"), None);
    }
}
