//! From what people type to the API's paths.

use std::collections::BTreeMap;

use clap::Args;
use conclave_sdk::{ErrorCode, Operation};

use crate::commands::Failure;
use crate::commands::context::Api;

/// Which secret.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The mount; without it the cluster knows which part of the path it is
    #[arg(long, value_name = "MOUNT")]
    mount: Option<String>,
    /// The path, `secret/app/database`, or with -mount `app/database`
    #[arg(value_name = "PATH")]
    path: String,
}

/// A place in a mount whose version is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// With its slash.
    mount: String,
    has_versions: bool,
    /// Relative to the mount; empty for the mount itself.
    name: String,
}

impl Place {
    /// Asks the cluster what is mounted there. The place must have a name below its mount.
    pub(super) async fn secret(&self, api: &Api) -> Result<Target, Failure> {
        let target = self.directory(api).await?;
        if target.name.is_empty() {
            return Err(nameless());
        }
        Ok(target)
    }

    /// The same where the mount itself will do, too.
    pub(super) async fn directory(&self, api: &Api) -> Result<Target, Failure> {
        let asked = match &self.mount {
            Some(mount) => mount.trim_matches('/'),
            None => self.path.trim_matches('/'),
        };
        let path = format!("sys/internal/ui/mounts/{asked}");
        let doing = format!("asking what is mounted at {asked}");
        match api.call(&doing, Operation::Read, &path, &BTreeMap::new(), None).await {
            Ok(answer) => {
                let mount = answer.data["path"].as_str().unwrap_or_default();
                let has_versions = answer.data["options"]["version"] == "2";
                Ok(self.target(mount, has_versions))
            }
            // An old server, or nothing is mounted: the operation itself will tell.
            Err(failure) if failure.code() == Some(ErrorCode::NotFound) => {
                let first = asked.split('/').next().unwrap_or_default();
                Ok(self.target(first, false))
            }
            Err(failure) => Err(failure),
        }
    }

    /// What can be said without the cluster: that the path has no name.
    pub(super) fn check_name(&self) -> Result<(), Failure> {
        let path = self.path.trim_matches('/');
        let is_named = match &self.mount {
            Some(mount) => !mount.trim_matches('/').is_empty() && !path.is_empty(),
            None => path.contains('/'),
        };
        if is_named { Ok(()) } else { Err(nameless()) }
    }

    fn target(&self, mount: &str, has_versions: bool) -> Target {
        let path = self.path.trim_matches('/');
        let mount = match &self.mount {
            Some(mount) => mount.trim_matches('/'),
            None => mount.trim_matches('/'),
        };
        let name = match &self.mount {
            Some(_) => path,
            None => path.strip_prefix(mount).unwrap_or_default().trim_start_matches('/'),
        };
        Target { mount: format!("{mount}/"), has_versions, name: name.to_owned() }
    }
}

impl Target {
    /// Whether the mount keeps versions.
    pub(super) fn has_versions(&self) -> bool {
        self.has_versions
    }

    /// The API's path: with versions, the kind of record stands between mount and name.
    pub(super) fn path(&self, kind: &str) -> String {
        let Self { mount, has_versions, name } = self;
        let path =
            if *has_versions { format!("{mount}{kind}/{name}") } else { mount.clone() + name };
        path.trim_end_matches('/').to_owned()
    }

    /// The same for what only a mount with versions has.
    pub(super) fn versioned(&self, kind: &str) -> Result<String, Failure> {
        if self.has_versions {
            return Ok(self.path(kind));
        }
        let mount = self.mount.trim_end_matches('/');
        Err(Failure::local(format!(
            "the mount {mount} keeps no versions; tune it to version 2, or use 'delete'"
        )))
    }
}

fn nameless() -> Failure {
    let message = "the path names no secret; write secret/NAME, or -mount=secret NAME";
    Failure::local(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(mount: Option<&str>, path: &str) -> Place {
        Place { mount: mount.map(str::to_owned), path: path.to_owned() }
    }

    #[test]
    fn the_kind_stands_between_mount_and_name_where_there_are_versions() {
        let path = |place: Place, has_versions| place.target("team/kv/", has_versions).path("data");
        assert_eq!(path(place(None, "/team/kv/app/db"), true), "team/kv/data/app/db");
        assert_eq!(path(place(None, "team/kv/app/db"), false), "team/kv/app/db");
        assert_eq!(path(place(Some("team/kv/"), "app/db"), true), "team/kv/data/app/db");
        assert_eq!(path(place(None, "team/kv"), true), "team/kv/data");
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        for (mount, path) in
            [(None, "secret"), (None, "secret/"), (Some(""), "a"), (Some("a"), "/")]
        {
            assert!(place(mount, path).check_name().is_err(), "{mount:?} {path}");
        }
        assert!(place(None, "secret/a").check_name().is_ok());
    }

    #[test]
    fn what_needs_versions_says_so() {
        let failure = place(None, "kv/a").target("kv/", false).versioned("undelete").unwrap_err();
        assert!(failure.to_string().contains("keeps no versions"), "{failure}");
    }
}
