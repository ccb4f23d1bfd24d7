//! The names of the disk: as a process sees them, as they are durable, and what lies between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::inode::Inode;
use crate::disk::{Open, path};

/// A source of random numbers.
pub(super) type Random<'a> = dyn FnMut() -> u64 + 'a;

/// What a power cut leaves of a list of changes.
pub(super) enum Fate {
    /// The first so many.
    Prefix(usize),
    /// Each with even chance.
    Subset,
}

impl Fate {
    pub(super) fn draw(random: &mut Random<'_>, changes: usize) -> Self {
        match random() % 4 {
            0 => Self::Prefix(0),
            1 => Self::Subset,
            2 => Self::Prefix(changes),
            _ => {
                let kept = random() % (changes as u64 + 1);
                Self::Prefix(usize::try_from(kept).expect("at most the number of changes"))
            }
        }
    }

    /// Whether the next change stays.
    pub(super) fn keeps(&mut self, random: &mut Random<'_>) -> bool {
        match self {
            Self::Prefix(0) => false,
            Self::Prefix(left) => {
                *left -= 1;
                true
            }
            Self::Subset => random().is_multiple_of(2),
        }
    }
}

/// All directories by path. The root always exists.
pub(super) struct Tree {
    directories: BTreeMap<String, Directory>,
}

#[derive(Default)]
struct Directory {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// Turns `durable` into `live`, in order.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Node {
    File(Arc<Inode>),
    Directory,
}

#[derive(Clone)]
enum Change {
    Link(String, Node),
    Unlink(String),
    Rename(String, String, Node),
}

impl Default for Tree {
    fn default() -> Self {
        Self { directories: BTreeMap::from([(String::new(), Directory::default())]) }
    }
}

impl Tree {
    pub(super) fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        Ok(self.directory(directory)?.live.keys().cloned().collect())
    }

    pub(super) fn create_dir(&mut self, directory: &str) -> io::Result<()> {
        path::check_directory(directory)?;
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for end in ends.filter(|end| *end > 0) {
            let prefix = &directory[..end];
            if self.directories.contains_key(prefix) {
                continue;
            }
            let parent = self.directory_mut(path::parent(prefix))?;
            if parent.live.contains_key(path::name(prefix)) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            parent.change(Change::Link(path::name(prefix).to_owned(), Node::Directory));
            self.directories.insert(prefix.to_owned(), Directory::default());
        }
        Ok(())
    }

    pub(super) fn open(&mut self, path: &str, how: Open) -> io::Result<Arc<Inode>> {
        path::check_file(path)?;
        let directory = self.directory_mut(path::parent(path))?;
        match (directory.live.get(path::name(path)), how) {
            (Some(Node::Directory), _) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(_)), Open::New) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(inode)), _) => Ok(Arc::clone(inode)),
            (None, Open::Existing) => Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let inode = Arc::new(Inode::default());
                let node = Node::File(Arc::clone(&inode));
                directory.change(Change::Link(path::name(path).to_owned(), node));
                Ok(inode)
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        path::check_file(to)?;
        let node = self.file(from)?;
        if matches!(
            self.directory(path::parent(to))?.live.get(path::name(to)),
            Some(Node::Directory)
        ) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (old, new) = (path::name(from).to_owned(), path::name(to).to_owned());
        if path::parent(from) == path::parent(to) {
            self.directory_mut(path::parent(to))?.change(Change::Rename(old, new, node));
        } else {
            self.directory_mut(path::parent(to))?.change(Change::Link(new, node));
            self.directory_mut(path::parent(from))?.change(Change::Unlink(old));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        let name = path::name(path).to_owned();
        self.directory_mut(path::parent(path))?.change(Change::Unlink(name));
        Ok(())
    }

    pub(super) fn sync(&mut self, directory: &str, durable: bool) -> io::Result<()> {
        let directory = self.directory_mut(directory)?;
        if durable {
            directory.pending.clear();
            directory.durable = directory.live.clone();
        }
        Ok(())
    }

    /// Makes the file at `path` these bytes, durably, for those who have it open too.
    pub(super) fn replace(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let inode = self.open(path, Open::Any)?;
        inode.replace(bytes);
        let name = path::name(path).to_owned();
        self.directory_mut(path::parent(path))?.settle(&Change::Link(name, Node::File(inode)));
        Ok(())
    }

    /// Removes the file at `path`, durably.
    pub(super) fn delete(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        let name = path::name(path).to_owned();
        self.directory_mut(path::parent(path))?.settle(&Change::Unlink(name));
        Ok(())
    }

    /// Every file by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, &Inode)> {
        self.directories.iter().flat_map(|(parent, directory)| {
            directory.live.iter().filter_map(move |(name, node)| match node {
                Node::File(inode) => Some((join(parent, name), inode.as_ref())),
                Node::Directory => None,
            })
        })
    }

    /// Gives every file to new openers only.
    pub(super) fn crash(&mut self) {
        for directory in self.directories.values_mut() {
            let mut moved: Vec<(*const Inode, Arc<Inode>)> = Vec::new();
            let mut renew = |node: &mut Node| {
                if let Node::File(inode) = node {
                    let old = Arc::as_ptr(inode);
                    let known = moved.iter().find(|(known, _)| *known == old);
                    let new =
                        known.map_or_else(|| Arc::new(inode.copy()), |(_, new)| Arc::clone(new));
                    moved.push((old, Arc::clone(&new)));
                    *inode = new;
                }
            };
            directory.live.values_mut().for_each(&mut renew);
            directory.durable.values_mut().for_each(&mut renew);
            for change in &mut directory.pending {
                if let Change::Link(_, node) | Change::Rename(_, _, node) = change {
                    renew(node);
                }
            }
        }
    }

    pub(super) fn power_cut(&mut self, random: &mut Random<'_>) {
        let before = std::mem::take(self);
        self.directories.clear();
        for (place, directory) in before.directories {
            if place.is_empty() || self.holds_directory(&place) {
                self.directories.insert(place, directory.after_power_cut(random));
            }
        }
        // A directory whose own creation outlived its content is empty, not absent.
        let places: Vec<_> = self
            .directories
            .iter()
            .flat_map(|(parent, directory)| {
                let inner =
                    directory.live.iter().filter(|(_, node)| matches!(node, Node::Directory));
                inner.map(|(name, _)| join(parent, name)).collect::<Vec<_>>()
            })
            .collect();
        for place in places {
            self.directories.entry(place).or_default();
        }
    }

    fn holds_directory(&self, place: &str) -> bool {
        let parent = self.directories.get(path::parent(place));
        matches!(
            parent.and_then(|parent| parent.live.get(path::name(place))),
            Some(Node::Directory)
        )
    }

    fn file(&self, path: &str) -> io::Result<Node> {
        path::check_file(path)?;
        match self.directory(path::parent(path))?.live.get(path::name(path)) {
            Some(node @ Node::File(_)) => Ok(node.clone()),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory(&self, directory: &str) -> io::Result<&Directory> {
        path::check_directory(directory)?;
        self.directories.get(directory).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn directory_mut(&mut self, directory: &str) -> io::Result<&mut Directory> {
        path::check_directory(directory)?;
        self.directories.get_mut(directory).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Directory {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// Makes a change durable at once. What else is pending stays so.
    fn settle(&mut self, change: &Change) {
        change.apply(&mut self.live);
        change.apply(&mut self.durable);
    }

    fn after_power_cut(self, random: &mut Random<'_>) -> Self {
        let mut left = self.durable;
        let mut fate = Fate::draw(random, self.pending.len());
        for change in self.pending {
            if fate.keeps(random) {
                change.apply(&mut left);
            }
        }
        for node in left.values_mut() {
            if let Node::File(inode) = node {
                *inode = Arc::new(inode.after_power_cut(random));
            }
        }
        Self { live: left.clone(), durable: left, pending: Vec::new() }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), node.clone());
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), node.clone());
            }
        }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}
