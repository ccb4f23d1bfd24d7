//! What secrets engines and auth methods share: both are mounts.

mod disable;
mod enable;
mod list;
mod relocate;
mod settings;
mod tune;

pub(super) use disable::Disable;
pub(super) use enable::Enable;
pub(super) use list::List;
pub(super) use relocate::Relocate;
pub(super) use tune::Tune;

use super::{Context, Failure, path};

/// Which of the two a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Secrets,
    Auth,
}

impl Kind {
    /// Where the API has them.
    fn table(self) -> &'static str {
        match self {
            Self::Secrets => "sys/mounts",
            Self::Auth => "sys/auth",
        }
    }

    /// With the article that sentences need.
    fn words(self) -> &'static str {
        match self {
            Self::Secrets => "the secrets engine",
            Self::Auth => "the auth method",
        }
    }

    /// A mount of this kind as people type it: an auth method may stand with or without `auth/`.
    fn mount(self, typed: &str) -> Result<String, Failure> {
        let mount = path::clean(typed)?;
        match self {
            Self::Secrets => Ok(mount),
            Self::Auth => {
                let below = [mount.as_str(), "/"].concat();
                path::clean(below.strip_prefix("auth/").unwrap_or(&mount))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_auth_method_may_be_named_with_its_prefix() {
        assert_eq!(Kind::Auth.mount("auth/userpass/").ok().as_deref(), Some("userpass"));
        assert_eq!(Kind::Auth.mount("userpass").ok().as_deref(), Some("userpass"));
        assert_eq!(Kind::Secrets.mount("auth/x").ok().as_deref(), Some("auth/x"));
        assert!(Kind::Auth.mount("auth/").is_err());
    }
}
