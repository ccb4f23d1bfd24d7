//! What a disk does to files while nobody looks.

use std::sync::Arc;

use conclave_store::disk::{Disk, MemoryDisk, Open};

use crate::world::Dice;

/// How a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    BitFlip,
    Zeros,
    Shorter,
    Gone,
    /// As it was when a copy was made.
    Older,
}

/// Zeroed at once.
const PAGE_BYTES: usize = 4_096;

impl Damage {
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        *dice.pick(&[Self::BitFlip, Self::Zeros, Self::Shorter, Self::Gone, Self::Older])
    }

    /// Damages one file, durably; its path where it is another file now.
    pub(crate) fn strike(
        self,
        disk: &MemoryDisk,
        older: Option<&MemoryDisk>,
        dice: &mut Dice,
    ) -> Option<String> {
        let files: Vec<_> =
            disk.contents().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let (path, bytes) = dice.pick(&files).clone();
        let mut left = bytes.clone();
        let at = usize::try_from(dice.below(bytes.len() as u64)).expect("below a length");
        match self {
            Self::BitFlip => left[at] ^= 1 << dice.below(8),
            Self::Zeros => {
                let end = bytes.len().min(at + PAGE_BYTES);
                left[at..end].fill(0);
            }
            Self::Shorter => left.truncate(at),
            Self::Gone => {
                disk.remove(&path).ok()?;
                disk.sync_dir(parent(&path)).ok()?;
                return Some(path);
            }
            Self::Older => {
                let files = older?.contents();
                left = files.into_iter().find(|(old, _)| *old == path)?.1;
            }
        }
        if left == bytes {
            return None;
        }
        put(disk, &path, &left);
        Some(path)
    }
}

/// Everything that a disk holds, durable on another one.
pub(crate) fn copy_of(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    for (path, bytes) in disk.contents() {
        copy.create_dir(parent(&path)).expect("a new disk takes a directory");
        put(&copy, &path, &bytes);
        copy.sync_dir(parent(&path)).expect("a new disk syncs");
    }
    copy.sync_dir("").expect("a new disk syncs");
    copy
}

fn put(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
    let file: Arc<_> = disk.open(path, Open::Any).expect("its directory exists");
    let written = file.set_len(0).and_then(|()| file.write_at(0, bytes)).and_then(|()| file.sync());
    written.expect("a disk without a fault takes writes");
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.create_dir("log").unwrap();
        put(&disk, "log/a", b"some bytes");
        disk.sync_dir("log").unwrap();
        disk.sync_dir("").unwrap();
        disk
    }

    #[test]
    fn a_copy_outlives_a_power_cut_and_is_another_disk() {
        let disk = disk();
        let copy = copy_of(&disk);
        put(&disk, "log/a", b"other bytes");
        copy.power_cut(|| 0);
        assert_eq!(copy.contents(), [("log/a".to_owned(), b"some bytes".to_vec())]);
    }

    #[test]
    fn each_damage_changes_a_file() {
        let older = disk();
        for damage in [Damage::BitFlip, Damage::Zeros, Damage::Shorter, Damage::Gone, Damage::Older]
        {
            let disk = copy_of(&older);
            put(&disk, "log/a", b"some newer bytes");
            let before = disk.contents();
            let struck = damage.strike(&disk, Some(&older), &mut Dice::new(1, 1));
            assert_eq!(struck.as_deref(), Some("log/a"), "{damage:?}");
            assert_ne!(disk.contents(), before, "{damage:?}");
        }
    }
}
