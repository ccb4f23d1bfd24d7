//! Whose words the program speaks: by the name under which it was called.

use std::ffi::OsStr;
use std::path::Path;

/// A link named `vault` or `bao` to this program serves scripts written for those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// Our own.
    #[default]
    Conclave,
    /// Vault's.
    Vault,
    /// OpenBao's.
    Bao,
}

impl Style {
    /// By the first word of the command line.
    pub(crate) fn of_program(called: Option<&OsStr>) -> Self {
        let name = called.map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
        match name {
            Some("vault") => Self::Vault,
            Some("bao") => Self::Bao,
            _ => Self::Conclave,
        }
    }

    /// The program's name in advice.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Conclave => "conclave",
            Self::Vault => "vault",
            Self::Bao => "bao",
        }
    }

    /// The product's name in prose.
    pub(crate) fn product(self) -> &'static str {
        match self {
            Self::Conclave => "Conclave",
            Self::Vault => "Vault",
            Self::Bao => "OpenBao",
        }
    }

    /// What the scripts of those suites compare features with: the version of their API that we
    /// serve.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Conclave => env!("CARGO_PKG_VERSION"),
            Self::Vault => "1.17.0",
            Self::Bao => "2.2.0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        let style = |called: &str| Style::of_program(Some(OsStr::new(called)));
        assert_eq!(style("/usr/bin/vault"), Style::Vault);
        assert_eq!(style("bao"), Style::Bao);
        assert_eq!(style("./conclave"), Style::Conclave);
        assert_eq!(style("vaulted"), Style::Conclave);
        assert_eq!(Style::of_program(None), Style::Conclave);
    }
}
