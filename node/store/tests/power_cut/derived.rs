//! The state's directory after a power cut. It is derived, so it is left in any state.

use std::fs;
use std::io;
use std::path::Path;

const PAGE_BYTES: usize = 4_096;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    AsItWas,
    Cut,
    /// Each page is the newer or the older one.
    Mixed,
    Older,
    Deleted,
}

impl Left {
    pub(crate) const ALL: [Self; 5] =
        [Self::AsItWas, Self::Cut, Self::Mixed, Self::Older, Self::Deleted];

    /// Makes the directory `to` out of what stood in `from`, and in `older` a while before.
    pub(crate) fn make(
        self,
        from: &Path,
        older: &Path,
        to: &Path,
        random: &mut impl FnMut() -> u64,
    ) -> io::Result<()> {
        match self {
            Self::Deleted => Ok(()),
            Self::AsItWas => copy(from, to),
            Self::Older => copy(older, to),
            Self::Cut => {
                copy(from, to)?;
                each_file(to, &mut |path| cut(path, random))
            }
            Self::Mixed => {
                copy(from, to)?;
                each_file(to, &mut |path| {
                    let place = path.strip_prefix(to).expect("it is below it");
                    mix(path, &older.join(place), random)
                })
            }
        }
    }
}

/// Copies a directory as it is at this moment, while others may write to it.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    if !from.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            match fs::copy(entry.path(), place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn each_file(directory: &Path, change: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut paths =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() { each_file(&path, change)? } else { change(&path)? }
    }
    Ok(())
}

fn cut(path: &Path, random: &mut impl FnMut() -> u64) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    if length > 0 && random().is_multiple_of(2) { file.set_len(random() % length) } else { Ok(()) }
}

fn mix(path: &Path, older: &Path, random: &mut impl FnMut() -> u64) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    let older = fs::read(older).unwrap_or_default();
    for (page, old) in bytes.chunks_mut(PAGE_BYTES).zip(older.chunks(PAGE_BYTES)) {
        if page.len() == old.len() && random().is_multiple_of(2) {
            page.copy_from_slice(old);
        }
    }
    fs::write(path, bytes)
}
