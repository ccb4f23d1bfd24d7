//! A memory limit around a process: a control group of its own, where this machine allows one.
//!
//! The group is a child of this program's own. With version 2 that takes delegation; with version 1
//! it takes the right to write. The limit counts the page cache too, which the kernel takes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a node's memory is limited.
pub(crate) enum Limit {
    /// By the kernel.
    Group(Group),
    /// Not at all: samples are compared with the cap, and the report says so.
    Measured,
}

/// A control group; removed with its last process.
pub(crate) struct Group {
    directory: PathBuf,
    version: u8,
}

impl Limit {
    /// Makes a group with this limit, or says that there is none.
    pub(crate) fn new(name: &str, bytes: u64) -> Self {
        let name = format!("conclave-{}-{name}", std::process::id());
        Group::make(&name, bytes).map_or(Self::Measured, Self::Group)
    }

    /// In words, for the report.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Group(group) if group.version == 2 => "cgroup v2, memory.max",
            Self::Group(_) => "cgroup v1, memory.limit_in_bytes",
            Self::Measured => "none here: only measured against it",
        }
    }

    /// The file that a process writes its id to in order to be limited.
    pub(crate) fn entrance(&self) -> Option<PathBuf> {
        match self {
            Self::Group(group) => Some(group.directory.join("cgroup.procs")),
            Self::Measured => None,
        }
    }

    /// How often the limit was met: pages had to be taken back for it.
    pub(crate) fn hits(&self) -> u64 {
        let Self::Group(group) = self else { return 0 };
        let text = |file| fs::read_to_string(group.directory.join(file)).unwrap_or_default();
        let number = match group.version {
            1 => text("memory.failcnt").trim().parse().ok(),
            _ => text("memory.events")
                .lines()
                .find_map(|line| line.strip_prefix("max ")?.trim().parse().ok()),
        };
        number.unwrap_or(0)
    }
}

impl Group {
    fn make(name: &str, bytes: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_start_matches('/');
            let (root, version, file) = match controllers {
                "" => ("/sys/fs/cgroup", 2, "memory.max"),
                "memory" => ("/sys/fs/cgroup/memory", 1, "memory.limit_in_bytes"),
                _ => return None,
            };
            let directory = Path::new(root).join(path).join(name);
            fs::create_dir(&directory).ok()?;
            let group = Self { directory, version };
            fs::write(group.directory.join(file), bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    /// Where the run failed, its processes were killed a moment ago and may not be gone yet.
    fn drop(&mut self) {
        for _ in 0..REMOVE_TRIES_MAX {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
    }
}

const REMOVE_TRIES_MAX: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);
