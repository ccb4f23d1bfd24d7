//! Small files, read and replaced whole.

use std::io;

use super::{Disk, Open, path};

/// A file read whole is at most this long.
pub const READ_ALL_BYTES_MAX: u64 = 16 << 20;

/// Replaces the file at `path`: after a crash or a power cut it holds all of the old bytes or all
/// of the new ones, and the new ones once this returned. Two callers must not write one path at
/// the same time.
///
/// # Errors
/// The operating system's; the old content stands then.
pub fn write_atomically(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{path}.tmp");
    let file = disk.open(&temporary, Open::Any)?;
    file.set_len(0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(path::parent(path))
}

/// The whole file at `path`, None where there is none.
///
/// # Errors
/// The operating system's; `FileTooLarge` above [`READ_ALL_BYTES_MAX`].
pub fn read_all(disk: &dyn Disk, path: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len()?;
    if length > READ_ALL_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{path} has {length} bytes, more than {READ_ALL_BYTES_MAX}: restore it"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).expect("the bound fits in memory")];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn a_replaced_file_is_the_old_or_the_new_one_after_a_power_cut() {
        for seed in 0..200_u64 {
            let disk = MemoryDisk::new();
            write_atomically(&disk, "key", b"old").unwrap();
            disk.fail_syncs(true);
            assert!(write_atomically(&disk, "key", b"the new one").is_err());
            disk.fail_syncs(false);
            let mut state = seed;
            disk.power_cut(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 20
            });
            assert_eq!(read_all(&disk, "key").unwrap().unwrap(), b"old");
            write_atomically(&disk, "key", b"the new one").unwrap();
            disk.power_cut(|| seed);
            assert_eq!(read_all(&disk, "key").unwrap().unwrap(), b"the new one");
        }
    }

    #[test]
    fn an_absent_file_is_none() {
        assert_eq!(read_all(&MemoryDisk::new(), "nothing").unwrap(), None);
    }
}
