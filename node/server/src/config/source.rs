//! Which texts a configuration is made of, and places in them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_hcl::{Body, Position};

use super::ConfigError;

/// One text of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// How errors call it: its path.
    name: String,
    /// Relative paths in it count from here.
    base: PathBuf,
    /// Whether a key that nobody knows is an error. JSON is written by programs, often for several
    /// versions of a node, so there it is a warning.
    strict: bool,
}

impl Source {
    /// A text of its own.
    pub(super) fn new(name: &str, base: &Path, strict: bool) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), base: base.to_owned(), strict })
    }

    /// Parses `text`, HCL 1 or JSON.
    pub(super) fn parse(
        name: &str,
        text: &str,
        base: &Path,
    ) -> Result<(Arc<Self>, Body), ConfigError> {
        let is_json = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with('{');
        let source = Self::new(name, base, !is_json);
        let body = conclave_hcl::parse(text).map_err(|error| ConfigError::Syntax {
            place: Place::new(&source, error.position),
            message: error.message,
        })?;
        Ok((source, body))
    }
}

/// Where something of the configuration stands: `conclave.hcl:3:5`, or the file alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    position: Option<Position>,
}

impl Place {
    pub(super) fn new(source: &Arc<Source>, position: Position) -> Self {
        Self { source: Arc::clone(source), position: Some(position) }
    }

    /// The whole of a text.
    pub(super) fn whole(source: Arc<Source>) -> Self {
        Self { source, position: None }
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// From where relative paths there count.
    pub(super) fn base(&self) -> &Path {
        &self.source.base
    }

    /// Whether unknown keys there are errors.
    pub(super) fn is_strict(&self) -> bool {
        self.source.strict
    }

    /// Whether both stand in the same text.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// Line and column.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{}:{position}", self.source.name),
            None => f.write_str(&self.source.name),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The files that `paths` name, in the order in which they count: a directory stands for its
/// `*.hcl` and `*.json` files by name.
pub(super) fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_in(path)?);
        } else {
            files.push(path.clone());
        }
        if files.len() > FILES_MAX {
            return Err(ConfigError::Files {
                path: path.clone(),
                reason: "a configuration has at most 64 files; merge some",
            });
        }
    }
    Ok(files)
}

/// What editors leave behind is no configuration.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let known = path.extension().is_some_and(|end| end == "hcl" || end == "json");
        if known && !name.starts_with(['.', '#']) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(ConfigError::Files {
            path: directory.to_owned(),
            reason: "it holds no file whose name ends in .hcl or .json; name the file itself",
        });
    }
    files.sort();
    Ok(files)
}

const FILES_MAX: usize = 64;
