//! Why a configuration is refused.

use std::path::PathBuf;

use super::Place;

/// Why a configuration was refused. Each error says where; none repeats a value, for a value may be
/// a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}; check the path and its permissions")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The paths name no usable set of files.
    #[error("cannot read the configuration from {path}: {reason}")]
    Files {
        /// Which path.
        path: PathBuf,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The text is neither HCL nor JSON.
    #[error("{place}: {message}")]
    Syntax {
        /// Where the grammar ends.
        place: Place,
        /// What was expected there.
        message: String,
    },
    /// A key that must be there is not.
    #[error("{place}: `{key}` is missing; set it to {expected}")]
    Missing {
        /// Where the block begins that lacks it.
        place: Place,
        /// The whole dotted path.
        key: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A key has a value of the wrong type or out of range.
    #[error("{place}: `{key}` is wrong; set it to {expected}")]
    Wrong {
        /// Where the key stands.
        place: Place,
        /// The whole dotted path.
        key: String,
        /// What would be right.
        expected: String,
    },
    /// A key that has one value is given two in one file.
    #[error("{place}: `{key}` is given again, after {first}; keep one of them")]
    Twice {
        /// Where the second stands.
        place: Place,
        /// The whole dotted path.
        key: String,
        /// Where the first stands.
        first: Place,
    },
    /// A key that nobody knows.
    #[error("{place}: unknown key `{key}`; {}", advice(.nearest.as_deref()))]
    Unknown {
        /// Where it stands.
        place: Place,
        /// The whole dotted path.
        key: String,
        /// The known key of that block that is most like it.
        nearest: Option<String>,
    },
    /// A key asks for something this node does not do.
    #[error("{place}: `{key}` is not supported: {reason}")]
    Unsupported {
        /// Where it stands.
        place: Place,
        /// The whole dotted path.
        key: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
}

fn advice(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "remove it, or look up how it is spelled".to_owned(),
    }
}
