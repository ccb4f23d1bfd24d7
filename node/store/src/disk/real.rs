//! The operating system's file system.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    Advice, AtFlags, Dir, FallocateFlags, Mode, OFlags, fadvise, fallocate, fchmod, fdatasync,
    fstat, fsync, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::usage::Usage;
use super::{Disk, File, Open, path};
use crate::directory::DirectoryLock;

const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Zeros are written in pieces of this size where a file system cannot reserve space.
const ZEROS_BYTES: usize = 256 << 10;

/// A data directory that this process owns. Everything is opened relative to one descriptor, so a
/// directory that is moved or mounted over meanwhile does not split the node's files.
///
/// What it may take can be limited ([`RealDisk::set_bytes_max`]): whatever would make a file grow
/// beyond that fails with `StorageFull`, as on a file system that is full, and what was allocated
/// before stays writable.
#[derive(Debug)]
pub struct RealDisk {
    root: fs::File,
    usage: Arc<Usage>,
    shown: PathBuf,
    _lock: DirectoryLock,
}

impl RealDisk {
    /// Makes the directory where it is absent (mode 0700), takes away what group and others may
    /// do there, and locks it.
    ///
    /// # Errors
    /// `ResourceBusy` where another process uses it, else the operating system's; the text names
    /// the directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("data directory {}: {error}", root.display()))
        };
        let directory = open_root(root).map_err(explain)?;
        let shown = root.display().to_string();
        let lock = DirectoryLock::take(&directory, &shown).map_err(|error| {
            if error.kind() == io::ErrorKind::ResourceBusy { error } else { explain(error) }
        })?;
        let usage = Arc::new(Usage::new(directory.try_clone().map_err(explain)?));
        Ok(Self { root: directory, usage, shown: root.to_owned(), _lock: lock })
    }

    /// Limits what the data directory takes in all, whoever writes there; None takes the limit
    /// away. Holds from the next write on.
    pub fn set_bytes_max(&self, bytes: Option<u64>) {
        self.usage.set_bytes_max(bytes);
    }

    /// The limit in force.
    #[must_use]
    pub fn bytes_max(&self) -> Option<u64> {
        self.usage.bytes_max()
    }

    /// What the data directory takes, as of a second ago at most.
    ///
    /// # Errors
    /// The operating system's.
    pub fn used_bytes(&self) -> io::Result<u64> {
        self.usage.used_bytes()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shown
    }

    fn open_directory(&self, directory: &str) -> io::Result<fs::File> {
        path::check_directory(directory)?;
        let name = if directory.is_empty() { "." } else { directory };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.root, name, flags, Mode::empty())?.into())
    }

    fn create_new(&self, path: &str) -> io::Result<fs::File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::File::from(openat(&self.root, path, flags, FILE_MODE)?);
        // The umask may have taken bits away from the mode above.
        fchmod(&file, FILE_MODE)?;
        Ok(file)
    }

    fn open_existing(&self, path: &str) -> io::Result<fs::File> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.root, path, flags, Mode::empty())?.into())
    }

    fn open_any(&self, path: &str) -> io::Result<fs::File> {
        match self.create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_existing(path),
            other => other,
        }
    }
}

impl Disk for RealDisk {
    fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.root)?;
        let available = space.f_bavail.saturating_mul(space.f_frsize);
        match self.bytes_max() {
            Some(most) => Ok(available.min(most.saturating_sub(self.used_bytes()?))),
            None => Ok(available),
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.open_directory(directory)?)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "." | "..") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        path::check_directory(directory)?;
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for end in ends.filter(|end| *end > 0) {
            let prefix = &directory[..end];
            match mkdirat(&self.root, prefix, DIRECTORY_MODE) {
                Ok(()) => fchmod(self.open_directory(prefix)?, DIRECTORY_MODE)?,
                Err(Errno::EXIST) => drop(self.open_directory(prefix)?),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        path::check_file(path)?;
        let file = match how {
            Open::New => self.create_new(path)?,
            Open::Existing => self.open_existing(path)?,
            Open::Any => self.open_any(path)?,
        };
        Ok(Arc::new(RealFile { file, usage: Arc::clone(&self.usage) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        path::check_file(from)?;
        path::check_file(to)?;
        Ok(renameat(&self.root, from, &self.root, to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        path::check_file(path)?;
        Ok(unlinkat(&self.root, path, AtFlags::empty())?)
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        Ok(fsync(self.open_directory(directory)?)?)
    }
}

/// Opens the data directory itself, making it and its parents where they are absent.
fn open_root(root: &Path) -> io::Result<fs::File> {
    create_durably(root)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = fs::File::from(rustix::fs::open(root, flags, Mode::empty())?);
    if Mode::from_raw_mode(fstat(&directory)?.st_mode) != DIRECTORY_MODE {
        fchmod(&directory, DIRECTORY_MODE)?;
    }
    Ok(directory)
}

/// Makes a directory and its parents, and makes their names durable: a data directory that a
/// power cut takes away takes acknowledged writes along.
fn create_durably(directory: &Path) -> io::Result<()> {
    let missing: Vec<_> = directory.ancestors().take_while(|place| !place.exists()).collect();
    fs::create_dir_all(directory)?;
    for place in missing {
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

struct RealFile {
    file: fs::File,
    usage: Arc<Usage>,
}

impl RealFile {
    /// Takes the space that the file needs to become `bytes` long.
    fn grow(&self, bytes: u64) -> io::Result<()> {
        // Asking for the length costs a call, so nobody asks while there is no limit.
        if self.usage.bytes_max().is_none() {
            return Ok(());
        }
        let length = self.len()?;
        if bytes > length { self.usage.take(bytes - length) } else { Ok(()) }
    }
}

impl File for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.grow(offset.saturating_add(bytes.len() as u64))?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // A second call after EINTR may report success for what the first one lost, so any error
        // is final.
        Ok(fdatasync(&self.file)?)
    }

    fn drop_cache(&self) {
        // A file system that cannot do it reads from memory again, as without the hint.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = self.len()?;
        if bytes == 0 {
            return Ok(());
        }
        self.grow(bytes)?;
        match rustix::io::retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, bytes))
        {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&self.file, length, bytes),
            other => Ok(other?),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.grow(bytes)?;
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Reserves space the slow way, from `from` up to `to`.
fn write_zeros(file: &fs::File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let piece = (to - at).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..usize::try_from(piece).expect("at most the piece")], at)?;
        at += piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    const CHILD_ROOT: &str = "CONCLAVE_TEST_UMASK_ROOT";

    /// The umask is the whole process's, so the test has a process of its own.
    #[test]
    fn modes_do_not_depend_on_the_umask() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("data");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk::real::tests::files_under_a_strange_umask", "--ignored"])
            .env(CHILD_ROOT, &root)
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        assert_eq!(mode(&root), 0o700);
        assert_eq!(mode(&root.join("a")), 0o700);
        assert_eq!(mode(&root.join("a/b")), 0o700);
        assert_eq!(mode(&root.join("a/b/file")), 0o600);
        assert_eq!(mode(&root.join("lock")), 0o600);
    }

    #[test]
    #[ignore = "the test before runs it in a process of its own"]
    fn files_under_a_strange_umask() {
        let root = std::env::var_os(CHILD_ROOT).expect("the parent says where");
        rustix::process::umask(Mode::from_raw_mode(0o277));
        let disk = RealDisk::open(Path::new(&root)).unwrap();
        disk.create_dir("a/b").unwrap();
        disk.open("a/b/file", Open::New).unwrap();
    }

    #[test]
    fn a_second_opener_is_refused_with_the_way_out() {
        let place = tempfile::tempdir().unwrap();
        let first = RealDisk::open(place.path()).unwrap();
        let error = RealDisk::open(place.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let text = error.to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        assert!(text.contains("stop it, or give this node a directory of its own"), "{text}");
        drop(first);
        RealDisk::open(place.path()).unwrap();
    }

    #[test]
    fn files_are_written_renamed_listed_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(place.path()).unwrap();
        disk.create_dir("d").unwrap();
        disk.create_dir("d").unwrap();
        let file = disk.open("d/x", Open::New).unwrap();
        assert!(disk.open("d/x", Open::New).is_err());
        file.allocate(4096).unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        file.write_at(4094, b"abcd").unwrap();
        file.sync().unwrap();
        let mut buffer = [9; 8];
        assert_eq!(file.read_at(4093, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"\0abcd");
        disk.rename("d/x", "d/y").unwrap();
        disk.sync_dir("d").unwrap();
        disk.sync_dir("").unwrap();
        assert_eq!(disk.list("d").unwrap(), ["y"]);
        assert_eq!(disk.open("d/x", Open::Existing).err().unwrap().kind(), io::ErrorKind::NotFound);
        disk.remove("d/y").unwrap();
        assert!(disk.list("d").unwrap().is_empty());
        assert_eq!(disk.list("none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn absent_parents_are_made() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("a/b/c");
        let disk = RealDisk::open(&root).unwrap();
        assert_eq!(disk.path(), root);
        assert_eq!(disk.list("").unwrap(), ["lock"]);
    }

    #[test]
    fn paths_and_links_that_leave_the_directory_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(place.path()).unwrap();
        assert!(disk.open("../x", Open::Any).is_err());
        assert!(disk.open("/tmp/x", Open::Any).is_err());
        assert!(disk.create_dir("a/../../b").is_err());
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("link")).unwrap();
        assert!(disk.open("link", Open::Existing).is_err());
    }
}
