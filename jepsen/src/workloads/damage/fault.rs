//! The faults, and the files they befall.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::files;
use crate::seed::Seed;

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    BitFlip,
    ZeroedPage,
    Truncation,
    Swapped,
    Deleted,
    OldCopy,
}

/// Which files it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// Entries and votes.
    Log,
    Mark,
    State,
    Snapshot,
    Identity,
}

impl Fault {
    pub(super) const ALL: [Self; 6] = [
        Self::BitFlip,
        Self::ZeroedPage,
        Self::Truncation,
        Self::Swapped,
        Self::Deleted,
        Self::OldCopy,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BitFlip => "bit flip",
            Self::ZeroedPage => "zeroed page",
            Self::Truncation => "truncation",
            Self::Swapped => "swapped file",
            Self::Deleted => "deleted file",
            Self::OldCopy => "older copy",
        }
    }

    /// Does it; answers with what was done, in words.
    pub(super) fn befall(
        self,
        target: Target,
        data: &Path,
        older: &Path,
        seed: &mut Seed,
    ) -> anyhow::Result<String> {
        if matches!(self, Self::Deleted | Self::OldCopy) && seed.below(3) == 0 {
            return self.befall_folder(target, data, older, seed);
        }
        let found = target.files(data)?;
        anyhow::ensure!(!found.is_empty(), "there is no file of {target:?}: the run is void");
        let file = seed.pick(&found);
        let name = file.strip_prefix(data)?.display().to_string();
        let used = files::used_bytes(file)?.max(1);
        let at = seed.next() % used;
        match self {
            Self::BitFlip => files::flip_bit(file, at, u32::try_from(seed.next() % 8)?)?,
            Self::ZeroedPage => files::zero_page(file, at)?,
            Self::Truncation => files::truncate(file, at)?,
            Self::Deleted => std::fs::remove_file(file)?,
            Self::Swapped => {
                let other = partner(file, data, seed)?;
                files::swap(file, &other)?;
                return Ok(format!("{name} swapped with {}", other.display()));
            }
            Self::OldCopy => {
                let copy = older.join(file.strip_prefix(data)?);
                // What was not there then is not there in the copy either.
                match copy.exists() {
                    true => files::copy_file(&copy, file)?,
                    false => std::fs::remove_file(file)?,
                }
            }
        }
        Ok(format!("{} of {name} at {at} of {used}", self.name()))
    }

    /// The whole folder goes, or goes back.
    fn befall_folder(
        self,
        target: Target,
        data: &Path,
        older: &Path,
        seed: &mut Seed,
    ) -> anyhow::Result<String> {
        let folder = seed.pick(target.folders());
        let place = data.join(folder);
        if self == Self::OldCopy && older.join(folder).exists() {
            files::replace_folder(&place, &older.join(folder))?;
        } else if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        Ok(format!("{} of the folder {folder}", self.name()))
    }
}

impl Target {
    pub(super) const ALL: [Self; 5] =
        [Self::Log, Self::Mark, Self::State, Self::Snapshot, Self::Identity];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Log => "log and votes",
            Self::Mark => "mark",
            Self::State => "sled",
            Self::Snapshot => "snapshot",
            Self::Identity => "identity",
        }
    }

    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Log | Self::Mark => &["log"],
            Self::State => &["state"],
            Self::Snapshot => &["snapshots"],
            Self::Identity => &["node", "tls"],
        }
    }

    fn files(self, data: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in self.folders() {
            for path in files::below(&data.join(folder))? {
                let is_mark = path.file_name().is_some_and(|name| name == "mark");
                let used = files::used_bytes(&path)? > 0;
                let fits = match self {
                    // The spare segment is empty: nothing there can be damaged.
                    Self::Log => !is_mark && used,
                    Self::Mark => is_mark,
                    _ => used,
                };
                if fits {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }
}

/// Another file, of the same folder if there is one.
fn partner(file: &Path, data: &Path, seed: &mut Seed) -> anyhow::Result<PathBuf> {
    let others = |folder: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let found = files::below(folder)?.into_iter();
        Ok(found.filter(|other| other != file && !other.ends_with("lock")).collect())
    };
    let near = others(file.parent().context("a folder")?)?;
    let all = if near.is_empty() { others(data)? } else { near };
    Ok(seed.pick(&all).clone())
}
