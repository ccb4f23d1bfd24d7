//! The node's configuration file: Vault's key names where they mean the same, as JSON.
//!
//! Reading yields a [`Config`] whose every field is validated, or an error that names the key and
//! says what it expects. A key nobody reads is no error, so that a file written for another
//! version starts, but it is named in [`Config::warnings`].

mod address;
mod audit;
mod listener;
mod section;
mod storage;
mod timing;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use address::{Address, ApiAddr, NodeName};
pub use audit::AuditConfig;
pub use listener::{Listener, TlsFiles, TlsVersion};
pub use storage::{RetryJoin, SpaceLimits, Storage};
pub use timing::RaftTiming;

use crate::logging::{LogFormat, LogLevel};
use section::Section;

/// Everything a node is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The public listener and the peer listener.
    pub listener: Listener,
    /// The data directory, the node's name and whom to join.
    pub storage: Storage,
    /// A file with the secret by which nodes of one configuration join each other.
    pub join_secret_file: Option<PathBuf>,
    /// What opens the barrier.
    pub seal: Seal,
    /// Whether this node's cluster hands the root key to members that ask for it.
    pub peer_unseal: PeerUnseal,
    /// Whether what suites written for Vault's older defaults need is allowed: anybody may begin and
    /// cancel key ceremonies.
    pub vault_compat: bool,
    /// Where audit logs are written.
    pub audit: AuditConfig,
    /// The URL under which clients reach this node.
    pub api_addr: ApiAddr,
    /// Where peers reach this node.
    pub cluster_addr: Address,
    /// Shown to people.
    pub cluster_name: String,
    /// How much is logged.
    pub log_level: LogLevel,
    /// How a log line looks.
    pub log_format: LogFormat,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// Heartbeats and elections.
    pub raft: RaftTiming,
    /// Writes everything peers say to this node and its answers, as it stands inside TLS, to this
    /// file: for tests.
    pub danger_record_peer_frames: Option<PathBuf>,
    /// What the operator should know but need not act on: keys that nobody reads, with their
    /// whole path, and keys without effect.
    pub warnings: Vec<String>,
}

/// What opens the barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Key shares, given by people.
    Shamir,
    /// A key in a file: the node opens by itself.
    StaticFile(PathBuf),
    /// A key in an environment variable: the node opens by itself.
    StaticEnv(String),
}

impl Seal {
    /// As `seal-status` names it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shamir => "shamir",
            Self::StaticFile(_) | Self::StaticEnv(_) => "static",
        }
    }

    /// As the seal crate takes it.
    #[must_use]
    pub fn to_provider(&self) -> conclave_seal::SealConfig {
        use conclave_seal::SealConfig;
        match self {
            Self::Shamir => SealConfig::Shamir,
            Self::StaticFile(file) => {
                SealConfig::Static { key_file: Some(file.clone()), key_env: None }
            }
            Self::StaticEnv(name) => {
                SealConfig::Static { key_file: None, key_env: Some(name.clone()) }
            }
        }
    }
}

/// Whether and to whom an unsealed leader gives the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerUnseal {
    /// To members that an operator approved (they joined with a join token).
    pub allow: bool,
    /// Also to members that joined by the shared join secret.
    pub allow_join_secret_members: bool,
}

/// Why a configuration was refused.
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
    /// The file is not JSON.
    #[error("the configuration is not valid JSON (line {line}, column {column}); correct it there")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing; set it to {expected}")]
    Missing {
        /// The whole dotted path.
        key: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A key has a value of the wrong type or out of range.
    #[error("`{key}` is wrong; set it to {expected}")]
    Wrong {
        /// The whole dotted path. The value is not repeated: it might be a secret.
        key: String,
        /// What would be right.
        expected: String,
    },
    /// A key asks for something this node does not do.
    #[error("`{key}` is not supported: {reason}")]
    Unsupported {
        /// The whole dotted path.
        key: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
}

impl Config {
    /// Reads and validates the file at `path`. Relative paths in it count from its directory.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base)
    }

    /// Validates `text`; relative paths in it count from `base`.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let mut root = Section::root(text, base)?;
        let listener = listener::read(&mut root, &mut warnings)?;
        let (storage, multiplier) = storage::read(&mut root, &mut warnings)?;
        let api_addr = read_api_addr(&mut root, &listener)?;
        let cluster_addr = read_cluster_addr(&mut root, &listener)?;
        let config = Self {
            seal: read_seal(&mut root, &mut warnings)?,
            peer_unseal: read_peer_unseal(&mut root, &mut warnings)?,
            vault_compat: read_vault_compat(&mut root)?,
            audit: audit::read(&mut root, base, &mut warnings)?,
            raft: timing::read(&mut root, multiplier, &mut warnings)?,
            join_secret_file: root.path("join_secret_file")?,
            cluster_name: root.string("cluster_name")?.unwrap_or_else(|| "conclave".to_owned()),
            log_level: read_log_level(&mut root)?,
            log_format: read_log_format(&mut root)?,
            pid_file: root.path("pid_file")?,
            danger_record_peer_frames: read_peer_recording(&mut root, &mut warnings)?,
            listener,
            storage,
            api_addr,
            cluster_addr,
            warnings: Vec::new(),
        };
        root.finish(&mut warnings);
        Ok(Self { warnings, ..config })
    }
}

fn read_api_addr(root: &mut Section, listener: &Listener) -> Result<ApiAddr, ConfigError> {
    if let Some(text) = root.string("api_addr")? {
        return ApiAddr::parse(&text).ok_or_else(|| root.wrong("api_addr", ApiAddr::EXPECTED));
    }
    if listener.address.is_unspecified() {
        return Err(ConfigError::Missing {
            key: "api_addr".to_owned(),
            expected: "the URL under which clients reach this node, as https://host:8200 (the \
                       listener has no address to derive it from)",
        });
    }
    Ok(ApiAddr::of(&listener.address))
}

fn read_cluster_addr(root: &mut Section, listener: &Listener) -> Result<Address, ConfigError> {
    if let Some(text) = root.string("cluster_addr")? {
        let bare = text.strip_prefix("https://").unwrap_or(&text).trim_end_matches('/');
        let address = Address::parse(bare).filter(|address| !address.is_unspecified());
        return address.ok_or_else(|| root.wrong("cluster_addr", Address::EXPECTED_REACHABLE));
    }
    if listener.cluster_address.is_unspecified() {
        return Err(ConfigError::Missing {
            key: "cluster_addr".to_owned(),
            expected: "where the other nodes reach this one, as host:8201 (the listener has no \
                       address to derive it from)",
        });
    }
    Ok(listener.cluster_address.clone())
}

fn read_seal(root: &mut Section, warnings: &mut Vec<String>) -> Result<Seal, ConfigError> {
    let mut seals = root.labelled("seal")?;
    let Some((label, mut section)) = seals.pop() else { return Ok(Seal::Shamir) };
    if !seals.is_empty() {
        return Err(ConfigError::Unsupported {
            key: "seal".to_owned(),
            reason: "a node has one seal; keep one of them",
        });
    }
    let seal = match label.as_str() {
        "shamir" => Seal::Shamir,
        "static" => read_static_seal(&mut section)?,
        _ => {
            return Err(ConfigError::Unsupported {
                key: section.key(""),
                reason: "this version knows the seals \"shamir\" and \"static\"; use one of them",
            });
        }
    };
    section.finish(warnings);
    Ok(seal)
}

fn read_static_seal(section: &mut Section) -> Result<Seal, ConfigError> {
    match (section.path("key_file")?, section.string("key_env")?) {
        (Some(file), None) => Ok(Seal::StaticFile(file)),
        (None, Some(variable)) => Ok(Seal::StaticEnv(variable)),
        (None, None) => Err(ConfigError::Missing {
            key: section.key("key_file"),
            expected: "the path of the key's file, or set `key_env` to the name of a variable",
        }),
        (Some(_), Some(_)) => Err(ConfigError::Unsupported {
            key: section.key("key_env"),
            reason: "`key_file` is set too; keep one of them",
        }),
    }
}

fn read_peer_unseal(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<PeerUnseal, ConfigError> {
    let Some(mut section) = root.section("peer_unseal")? else { return Ok(PeerUnseal::default()) };
    let policy = PeerUnseal {
        allow: section.boolean("allow")?.unwrap_or(false),
        allow_join_secret_members: section.boolean("allow_join_secret_members")?.unwrap_or(false),
    };
    section.finish(warnings);
    Ok(policy)
}

fn read_vault_compat(root: &mut Section) -> Result<bool, ConfigError> {
    match root.string("compat")?.as_deref() {
        None => Ok(false),
        Some("vault") => Ok(true),
        Some(_) => Err(root.wrong("compat", "\"vault\", or leave it out")),
    }
}

fn read_peer_recording(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<Option<PathBuf>, ConfigError> {
    let path = root.path(PEER_RECORDING)?;
    if path.is_some() {
        warnings.push(format!(
            "`{PEER_RECORDING}` is set: what peers say is written to a file without TLS; \
             remove the key and the file unless this is a test"
        ));
    }
    Ok(path)
}

fn read_log_level(root: &mut Section) -> Result<LogLevel, ConfigError> {
    let Some(text) = root.string("log_level")? else { return Ok(LogLevel::default()) };
    text.parse().map_err(|()| {
        root.wrong("log_level", "one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"")
    })
}

fn read_log_format(root: &mut Section) -> Result<LogFormat, ConfigError> {
    match root.string("log_format")?.as_deref() {
        None | Some("text" | "standard") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(_) => Err(root.wrong("log_format", "\"text\" or \"json\"")),
    }
}

const PEER_RECORDING: &str = "danger_record_peer_frames";
