//! Reads of one view plus own writes; every row and directory read becomes a condition.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use crate::aead::{OVERHEAD_BYTES, Place, RecordKind};
use crate::barrier::Barrier;
use crate::error::{BarrierError, damaged};
use crate::keyring::Keyring;
use crate::ledger::{Child, Key, LedgerView, SessionChange};
use crate::listing::{DIRECTORY_BYTES_MAX, Names, Selection, name_bytes};
use crate::names::NameKey;
use crate::path::{MountId, NamespaceId, Path};
use crate::places;

/// The largest value: sealed, it has exactly 1 MiB.
pub const VALUE_BYTES_MAX: usize = (1 << 20) - OVERHEAD_BYTES;
/// The deepest path below a mount; with its clear segments it is what the ledger takes.
const NAMES_PER_PATH_MAX: usize = 126;
/// How many children are fetched at a time.
const PAGE_CHILDREN: usize = 1024;
/// Namespace and mount, which stand in clear before the sealed segments.
const CLEAR_SEGMENTS: usize = 2;

/// An opened row.
#[derive(Clone)]
pub struct Plain {
    /// The value in clear.
    pub value: Bytes,
    /// Of the write that put it there; 0 for a value that this transaction put itself.
    pub revision: u64,
}

/// Tells the size of the value, which is secret.
impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("value_bytes", &self.value.len())
            .field("revision", &self.revision)
            .finish()
    }
}

/// Where a piece of a survey ended.
#[derive(Debug, Clone)]
pub struct SurveyMark(Child);

/// What this transaction does to one row.
pub(crate) struct Pending {
    path: Path,
    /// None deletes.
    pub(crate) value: Option<Bytes>,
}

/// Reads of one view plus its own writes; every row and directory read becomes a condition.
///
/// A transaction that is dropped leaves no trace.
pub struct Transaction {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) view: Arc<dyn LedgerView>,
    /// The rows read, with their revisions.
    pub(crate) rows: BTreeMap<Key, u64>,
    /// The directories listed, with their revisions.
    pub(crate) directories: BTreeMap<Vec<Bytes>, u64>,
    pub(crate) writes: BTreeMap<Key, Pending>,
    pub(crate) session: Option<SessionChange>,
}

impl Transaction {
    pub(crate) fn new(barrier: Arc<Barrier>, view: Arc<dyn LedgerView>) -> Self {
        Self {
            barrier,
            view,
            rows: BTreeMap::new(),
            directories: BTreeMap::new(),
            writes: BTreeMap::new(),
            session: None,
        }
    }

    /// The view all reads are of.
    pub fn view(&self) -> &Arc<dyn LedgerView> {
        &self.view
    }

    /// A row: this transaction's own write, else the view's.
    ///
    /// # Errors
    /// `BadName`; `Damaged` where the row does not open in this place; `WrongKey`; `Ledger`.
    pub fn get(&mut self, path: &Path) -> Result<Option<Plain>, BarrierError> {
        let key = self.row_key(path)?;
        if let Some(pending) = self.writes.get(&key) {
            let own = |value: &Bytes| Plain { value: value.clone(), revision: 0 };
            return Ok(pending.value.as_ref().map(own));
        }
        let row = self.view.get(&key)?;
        self.rows.insert(key.clone(), row.as_ref().map_or(0, |row| row.revision));
        let Some(row) = row else {
            return Ok(None);
        };
        let place = row_place(&self.barrier.cluster_id, path, &key);
        let value = self.barrier.open_record(&*self.view, &place, &row.value)?;
        Ok(Some(Plain { value, revision: row.revision }))
    }

    /// Puts a row. Alone it is no condition: a blind write wins over whatever stands there.
    ///
    /// # Errors
    /// `BadName`, `TooLarge`.
    pub fn put(&mut self, path: &Path, value: Bytes) -> Result<(), BarrierError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(BarrierError::TooLarge { bytes: value.len(), bytes_max: VALUE_BYTES_MAX });
        }
        self.write(path, Some(value))
    }

    /// Deletes a row, present or not.
    ///
    /// # Errors
    /// `BadName`.
    pub fn delete(&mut self, path: &Path) -> Result<(), BarrierError> {
        self.write(path, None)
    }

    /// Children of a directory, sorted by clear name (bytewise, a directory with its `/`): at most
    /// `limit`, those after `after`. This transaction's own writes are in.
    ///
    /// # Errors
    /// `BadName`, also for a flat directory, which has no revision to hold the list to; `Damaged`;
    /// `Ledger`.
    pub fn list(
        &mut self,
        directory: &Path,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Names, BarrierError> {
        if directory.flat {
            let why = "a flat directory cannot be listed in a transaction; read its rows by name";
            return Err(BarrierError::BadName(why.to_owned()));
        }
        let segments = self.directory_segments(directory)?;
        let own = self.own_children(directory)?;
        let mut selection = Selection::new(after, limit);
        for (name, present) in &own {
            if *present {
                selection.push(name);
            }
        }
        let revision = self.note_directory(&segments)?;
        if let Some(names) = self.listing(directory, &segments, revision, &own, &mut selection)? {
            let from =
                after.map_or(0, |after| names.partition_point(|name| name.as_str() <= after));
            let names = names[from..].iter().map(String::as_str);
            selection.push_sorted(names.filter(|name| !own.contains_key(*name)));
        }
        Ok(selection.finish())
    }

    /// At most `limit` names of a flat directory's children, in no useful order, for what only shows
    /// or sweeps: no condition holds them to the moment of the commit, and own writes are not in.
    ///
    /// # Errors
    /// `BadName`, `Damaged`, `Ledger`.
    pub fn survey(&self, directory: &Path, limit: usize) -> Result<Names, BarrierError> {
        let segments = self.directory_segments(directory)?;
        let mut opener = NameOpener::new(self.barrier.keyring(), directory);
        let mut names = Vec::new();
        let mut last = None;
        while names.len() < limit {
            let page = (limit - names.len()).min(PAGE_CHILDREN);
            let sealed = self.view.flat_names(&segments, last.as_ref(), page)?;
            let Some(newest) = sealed.last().cloned() else { break };
            last = Some(newest);
            for name in &sealed {
                names.push(opener.open(&segments[CLEAR_SEGMENTS..], name)?);
            }
        }
        let more = match &last {
            Some(last) => !self.view.flat_names(&segments, Some(last), 1)?.is_empty(),
            None => false,
        };
        Ok(Names { names, more })
    }

    /// At most `limit` names of a directory's children after where the last piece ended: a walk over
    /// all of them that holds few at a time. As with [`Self::survey`], no condition holds them to the
    /// moment of the commit; pieces may be of different views, and what stands in all is met once.
    ///
    /// # Errors
    /// `BadName`, `Damaged`, `Ledger`.
    pub fn survey_piece(
        &self,
        directory: &Path,
        after: Option<&SurveyMark>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<SurveyMark>), BarrierError> {
        let segments = self.directory_segments(directory)?;
        let after = after.map(|mark| &mark.0);
        let sealed = match directory.flat {
            true => {
                let names =
                    self.view.flat_names(&segments, after.map(|child| &child.name), limit)?;
                names.into_iter().map(|name| Child { name, directory: false }).collect()
            }
            false => self.view.children(&segments, after, limit)?,
        };
        let end = sealed.last().filter(|_| sealed.len() == limit).cloned().map(SurveyMark);
        let mut opener = NameOpener::new(self.barrier.keyring(), directory);
        let mut names = Vec::with_capacity(sealed.len());
        for child in sealed.iter().filter(|child| directory.flat || !places::is_own(&child.name)) {
            let mut name = opener.open(&segments[CLEAR_SEGMENTS..], &child.name)?;
            if child.directory {
                name.push('/');
            }
            names.push(name);
        }
        Ok((names, end))
    }

    /// Opens a session with the commit. A transaction opens or closes at most one; the last call
    /// counts.
    pub fn open_session(&mut self, session: Bytes, owner: [u8; 32], ttl_ms: u64) {
        let owner = Bytes::copy_from_slice(&owner);
        self.session = Some(SessionChange::Open { session, owner, ttl_ms });
    }

    /// Closes a session with the commit.
    pub fn close_session(&mut self, session: Bytes) {
        self.session = Some(SessionChange::Close { session });
    }

    /// Whether a commit would write nothing: no row and no session.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.session.is_none()
    }

    fn write(&mut self, path: &Path, value: Option<Bytes>) -> Result<(), BarrierError> {
        let key = self.row_key(path)?;
        self.writes.insert(key, Pending { path: path.clone(), value });
        Ok(())
    }

    fn row_key(&self, path: &Path) -> Result<Key, BarrierError> {
        if path.segments.is_empty() {
            let why = "a row needs a name; give at least one segment";
            return Err(BarrierError::BadName(why.to_owned()));
        }
        Ok(Key { segments: self.directory_segments(path)?, flat: path.flat })
    }

    /// All segments of a path as the ledger has them.
    fn directory_segments(&self, path: &Path) -> Result<Vec<Bytes>, BarrierError> {
        let depth = path.segments.len();
        if depth > NAMES_PER_PATH_MAX {
            return Err(BarrierError::BadName(format!(
                "a path has {depth} segments, the limit is {NAMES_PER_PATH_MAX}; use a shorter one"
            )));
        }
        let key = self.barrier.keyring().sealing_name_key(path.namespace, path.mount);
        let mut segments = Vec::with_capacity(CLEAR_SEGMENTS + depth);
        segments.push(Bytes::copy_from_slice(&path.namespace.0));
        segments.push(Bytes::copy_from_slice(&path.mount.0));
        for name in &path.segments {
            segments.push(key.seal(&segments[CLEAR_SEGMENTS..], name)?);
        }
        Ok(segments)
    }

    /// A listed directory becomes a condition.
    fn note_directory(&mut self, segments: &[Bytes]) -> Result<u64, BarrierError> {
        let revision = self.view.directory_revision(segments)?;
        self.directories.insert(segments.to_vec(), revision);
        Ok(revision)
    }

    /// The view's names of a directory, from the cache or decrypted now. None where they are too
    /// many to keep: then they were streamed into `selection`, without those of `own`.
    fn listing(
        &self,
        directory: &Path,
        segments: &[Bytes],
        revision: u64,
        own: &BTreeMap<String, bool>,
        selection: &mut Selection<'_>,
    ) -> Result<Option<Arc<Vec<String>>>, BarrierError> {
        if revision == 0 {
            return Ok(Some(Arc::default()));
        }
        let cache = &self.barrier.listings;
        let cached = cache.lock().unwrap_or_else(PoisonError::into_inner).get(segments, revision);
        if cached.is_some() {
            return Ok(cached);
        }
        let (mut names, mut bytes) = (Vec::new(), 0);
        for name in self.children(directory, segments) {
            let (name, _) = name?;
            bytes += name_bytes(&name);
            names.push(name);
            if bytes > DIRECTORY_BYTES_MAX {
                for name in names.drain(..).filter(|name| !own.contains_key(name)) {
                    selection.push(&name);
                }
            }
        }
        if bytes > DIRECTORY_BYTES_MAX {
            names.iter().filter(|name| !own.contains_key(*name)).for_each(|n| selection.push(n));
            return Ok(None);
        }
        names.sort_unstable();
        let names = Arc::new(names);
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(segments, revision, Arc::clone(&names));
        Ok(Some(names))
    }

    /// The view's children of a directory in the order of their sealed names, each with its name in
    /// clear, a directory's with `/`.
    fn children<'a>(
        &'a self,
        directory: &Path,
        segments: &'a [Bytes],
    ) -> impl Iterator<Item = Result<(String, Child), BarrierError>> + use<'a> {
        let mut opener = NameOpener::new(self.barrier.keyring(), directory);
        let mut pages = Pages { view: &*self.view, segments, last: None, done: false };
        std::iter::from_fn(move || pages.next_page().transpose())
            .flat_map(|page| match page {
                Ok(page) => page.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
            .filter(|child| !child.as_ref().is_ok_and(|child| places::is_own(&child.name)))
            .map(move |child| {
                let child = child?;
                let mut name = opener.open(&segments[CLEAR_SEGMENTS..], &child.name)?;
                if child.directory {
                    name.push('/');
                }
                Ok((name, child))
            })
    }

    /// What this transaction's writes make of a directory's children: present or gone.
    fn own_children(&mut self, directory: &Path) -> Result<BTreeMap<String, bool>, BarrierError> {
        let depth = directory.segments.len();
        let (mut own, mut thinned) = (BTreeMap::new(), Vec::new());
        for pending in self.writes.values().filter(|pending| pending.path.is_below(directory)) {
            let (mut name, present) =
                (pending.path.segments[depth].clone(), pending.value.is_some());
            if pending.path.segments.len() == depth + 1 {
                own.insert(name, present);
            } else {
                name.push('/');
                if present {
                    own.insert(name, true);
                } else {
                    thinned.push(pending.path.segments[depth].clone());
                }
            }
        }
        // Deletes below a child directory may have emptied it.
        for name in thinned {
            if let Entry::Vacant(entry) = own.entry(format!("{name}/")) {
                entry.insert(self.has_rows(&directory.child(name))?);
            }
        }
        Ok(own)
    }

    /// Whether any row is left in or below a directory of the view once this transaction's deletes
    /// are done. What it looks at becomes a condition.
    fn has_rows(&mut self, directory: &Path) -> Result<bool, BarrierError> {
        let segments = self.directory_segments(directory)?;
        self.note_directory(&segments)?;
        let mut thinned = Vec::new();
        for child in self.children(directory, &segments) {
            let (mut name, child) = child?;
            if child.directory {
                name.pop();
                let below = directory.child(name);
                if !self.writes.values().any(|pending| pending.path.is_below(&below)) {
                    return Ok(true);
                }
                thinned.push(below);
            } else {
                let mut row = segments.clone();
                row.push(child.name);
                if !self.writes.contains_key(&Key { segments: row, flat: false }) {
                    return Ok(true);
                }
            }
        }
        for below in thinned {
            if self.has_rows(&below)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The place a row is bound to.
pub(crate) fn row_place<'a>(cluster_id: &'a [u8; 16], path: &Path, key: &'a Key) -> Place<'a> {
    Place {
        cluster_id,
        namespace: path.namespace,
        mount: path.mount,
        name: &key.segments[CLEAR_SEGMENTS..],
        kind: if key.flat { RecordKind::FlatRow } else { RecordKind::Row },
    }
}

impl Pending {
    pub(crate) fn place<'a>(&self, cluster_id: &'a [u8; 16], key: &'a Key) -> Place<'a> {
        row_place(cluster_id, &self.path, key)
    }
}

/// Opens names of one mount, whatever key id they carry.
struct NameOpener {
    keyring: Arc<Keyring>,
    namespace: NamespaceId,
    mount: MountId,
    last: Option<(u8, Arc<NameKey>)>,
}

impl NameOpener {
    fn new(keyring: Arc<Keyring>, directory: &Path) -> Self {
        Self { keyring, namespace: directory.namespace, mount: directory.mount, last: None }
    }

    fn open(&mut self, parent: &[Bytes], segment: &[u8]) -> Result<String, BarrierError> {
        let id = *segment.first().ok_or_else(|| damaged("an empty name"))?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            let key = self.keyring.name_key(id, self.namespace, self.mount);
            let key =
                key.ok_or_else(|| damaged("a name under a key that is not in the keyring"))?;
            self.last = Some((id, key));
        }
        let (_, key) = self.last.as_ref().expect("set above");
        key.open(parent, segment)
    }
}

/// Fetches a directory's children page by page.
struct Pages<'a> {
    view: &'a dyn LedgerView,
    segments: &'a [Bytes],
    last: Option<Child>,
    done: bool,
}

impl Pages<'_> {
    fn next_page(&mut self) -> Result<Option<Vec<Child>>, BarrierError> {
        if self.done {
            return Ok(None);
        }
        // An error or a short page is the last one.
        self.done = true;
        let page = self.view.children(self.segments, self.last.as_ref(), PAGE_CHILDREN)?;
        self.done = page.len() < PAGE_CHILDREN;
        self.last = page.last().cloned();
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests;
