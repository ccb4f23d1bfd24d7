//! The node's configuration: Vault's blocks and key names where they mean the same, in HCL 1 or JSON.
//!
//! Reading yields a [`Config`] whose every field is validated, or an error that names file, line and
//! column, the key, and what it expects. A key that nobody knows is an error in HCL, which people
//! write, and a line of [`Config::warnings`] in JSON, which programs write for several versions.
//!
//! Of several files the later ones count: their scalars and single blocks replace those of earlier
//! files, while listeners, seals and audit devices add up.

mod address;
mod audit;
mod error;
mod listener;
mod section;
mod source;
mod storage;
mod timing;
mod vault;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conclave_hcl::Body;

pub use address::{Address, ApiAddr, NodeName};
pub use audit::AuditConfig;
pub use error::ConfigError;
pub use listener::{Listener, TlsFiles, TlsVersion};
pub use source::Place;
pub use storage::{RetryJoin, SpaceLimits, Storage};
pub use timing::RaftTiming;

use crate::logging::{LogFormat, LogLevel};
use section::Section;
use source::Source;

/// Everything a node is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect; one at least.
    pub listeners: Vec<Listener>,
    /// Where peers and joining nodes connect.
    pub cluster_address: Address,
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

impl Config {
    /// Reads and validates the files that `paths` name; a directory stands for its `*.hcl` and
    /// `*.json` files by name. Relative paths in a file count from its directory.
    ///
    /// # Errors
    /// [`ConfigError`], which names place and key.
    pub fn load(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut texts = Vec::new();
        for path in source::files_of(paths)? {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            let base = path.parent().unwrap_or(Path::new(""));
            texts.push(Source::parse(&path.display().to_string(), &text, base)?);
        }
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        Self::read(texts, &names.join(", "))
    }

    /// Validates `text`, which errors call `configuration`; relative paths in it count from `base`.
    ///
    /// # Errors
    /// [`ConfigError`], which names place and key.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        Self::read(vec![Source::parse("configuration", text, base)?], "configuration")
    }

    fn read(texts: Vec<(Arc<Source>, Body)>, name: &str) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let whole = Place::whole(Source::new(name, Path::new(""), true));
        let mut root = Section::root(texts, whole);
        vault::ignore(&mut root, vault::ROOT, &mut warnings);
        let (listeners, cluster_address) = listener::read(&mut root, &mut warnings)?;
        let (storage, multiplier) = storage::read(&mut root, &mut warnings)?;
        let api_addr = read_api_addr(&mut root, &listeners)?;
        let cluster_addr = read_cluster_addr(&mut root, &cluster_address)?;
        let config = Self {
            seal: read_seal(&mut root, &mut warnings)?,
            peer_unseal: read_peer_unseal(&mut root, &mut warnings)?,
            vault_compat: read_vault_compat(&mut root)?,
            audit: audit::read(&mut root, &mut warnings)?,
            raft: timing::read(&mut root, multiplier, &mut warnings)?,
            join_secret_file: root.path("join_secret_file")?,
            cluster_name: root.string("cluster_name")?.unwrap_or_else(|| "conclave".to_owned()),
            log_level: read_log_level(&mut root)?,
            log_format: read_log_format(&mut root)?,
            pid_file: root.path("pid_file")?,
            danger_record_peer_frames: read_peer_recording(&mut root, &mut warnings)?,
            listeners,
            cluster_address,
            storage,
            api_addr,
            cluster_addr,
            warnings: Vec::new(),
        };
        read_lifetimes(&mut root, &mut warnings)?;
        read_telemetry(&mut root, &mut warnings)?;
        root.finish(&mut warnings)?;
        Ok(Self { warnings, ..config })
    }
}

fn read_api_addr(root: &mut Section, listeners: &[Listener]) -> Result<ApiAddr, ConfigError> {
    let plain = listeners.iter().any(|listener| listener.plain);
    if let Some(text) = root.string("api_addr")? {
        let api_addr = ApiAddr::parse(&text).filter(|api_addr| plain || !api_addr.is_plain());
        return api_addr.ok_or_else(|| root.wrong("api_addr", ApiAddr::EXPECTED));
    }
    // Others can use an address with TLS only.
    let Some(listener) = listeners.iter().min_by_key(|listener| listener.plain) else {
        return Err(root.missing("listener", listener::EXPECTED));
    };
    if listener.address.is_unspecified() {
        return Err(root.missing(
            "api_addr",
            "the URL under which clients reach this node, as https://host:8200 (the listener has no \
             address to derive it from)",
        ));
    }
    Ok(ApiAddr::of(&listener.address, listener.plain))
}

fn read_cluster_addr(root: &mut Section, listener: &Address) -> Result<Address, ConfigError> {
    if let Some(text) = root.string("cluster_addr")? {
        let bare = text.strip_prefix("https://").unwrap_or(&text).trim_end_matches('/');
        let address = Address::parse(bare).filter(|address| !address.is_unspecified());
        return address.ok_or_else(|| root.wrong("cluster_addr", Address::EXPECTED_REACHABLE));
    }
    if listener.is_unspecified() {
        return Err(root.missing(
            "cluster_addr",
            "where the other nodes reach this one, as host:8201 (the listener has no address to \
             derive it from)",
        ));
    }
    Ok(listener.clone())
}

/// The lifetimes of tokens are those of each mount; the defaults under them are fixed.
fn read_lifetimes(root: &mut Section, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    for key in ["default_lease_ttl", "max_lease_ttl"] {
        if root.duration(key)?.is_some_and(|lifetime| lifetime != LEASE_TTL) {
            warnings.push(format!(
                "`{key}` has no effect: it is 768h; tune it at each mount that needs another"
            ));
        }
    }
    Ok(())
}

fn read_telemetry(root: &mut Section, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let Some(mut section) = root.section("telemetry")? else { return Ok(()) };
    vault::ignore(&mut section, vault::TELEMETRY, warnings);
    section.finish(warnings)
}

fn read_seal(root: &mut Section, warnings: &mut Vec<String>) -> Result<Seal, ConfigError> {
    let mut seals = root.labelled("seal")?;
    let Some((label, mut section)) = seals.pop() else { return Ok(Seal::Shamir) };
    if !seals.is_empty() {
        return Err(section.unsupported("", "a node has one seal; keep one of them"));
    }
    let seal = match label.as_str() {
        "shamir" => Seal::Shamir,
        "static" => read_static_seal(&mut section)?,
        _ => {
            return Err(section.unsupported(
                "",
                "this version knows the seals \"shamir\" and \"static\"; use one of them",
            ));
        }
    };
    section.finish(warnings)?;
    Ok(seal)
}

fn read_static_seal(section: &mut Section) -> Result<Seal, ConfigError> {
    match (section.path("key_file")?, section.string("key_env")?) {
        (Some(file), None) => Ok(Seal::StaticFile(file)),
        (None, Some(variable)) => Ok(Seal::StaticEnv(variable)),
        (None, None) => Err(section.missing(
            "key_file",
            "the path of the key's file, or set `key_env` to the name of a variable",
        )),
        (Some(_), Some(_)) => {
            Err(section.unsupported("key_env", "`key_file` is set too; keep one of them"))
        }
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
    section.finish(warnings)?;
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

/// What mounts begin with.
const LEASE_TTL: Duration = Duration::from_secs(768 * 3600);
const PEER_RECORDING: &str = "danger_record_peer_frames";
