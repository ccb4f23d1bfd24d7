//! The state at one revision, while applies go on.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::key::{self, ChildKind, DirectoryId};
use super::shared::{Page, Shared, Ticket};
use super::types::{Child, Row, StateError};
use crate::v1::Key;

/// The state at one revision. While it is open, what changes leaves before-images in memory; above
/// their bound the oldest views expire.
pub struct View {
    shared: Arc<Shared>,
    ticket: Ticket,
    stamped_ms: u64,
}

impl View {
    pub(crate) fn open(shared: &Arc<Shared>) -> Self {
        Self::open_as(shared, false)
    }

    /// A view whose before-images may be moved to the engine, so that it never expires because
    /// too much was written.
    pub(crate) fn open_exported(shared: &Arc<Shared>) -> Self {
        Self::open_as(shared, true)
    }

    fn open_as(shared: &Arc<Shared>, exported: bool) -> Self {
        let mut memory = shared.write();
        let ticket =
            Ticket { replaced: memory.replaced, revision: memory.position.index(), exported };
        memory.undo.register(ticket.revision, exported);
        let stamped_ms = memory.position.stamped_ms;
        drop(memory);
        Self { shared: Arc::clone(shared), ticket, stamped_ms }
    }

    /// The index of the newest entry it sees.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.ticket.revision
    }

    /// Stamped time at that entry.
    #[must_use]
    pub fn stamped_ms(&self) -> u64 {
        self.stamped_ms
    }

    /// The row of a key, if it is there.
    ///
    /// # Errors
    /// [`StateError::ViewExpired`], or where the engine cannot read what was written.
    pub fn get(&self, key: &Key) -> Result<Option<Row>, StateError> {
        let Some(at) = key::row(key) else { return Ok(None) };
        let record = self.shared.record_at(self.ticket, &at)?;
        Ok(record.map(|record| Row { revision: record.revision, value: record.value }))
    }

    /// When a child of the directory last appeared or went; 0 where it has no child.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn directory_revision(&self, directory: &[Bytes]) -> Result<u64, StateError> {
        let record = self.shared.record_at(self.ticket, &key::directory(directory))?;
        Ok(record.map_or(0, |record| record.revision))
    }

    /// At most `limit` children of a directory after `after`, in order.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn children(
        &self,
        directory: &[Bytes],
        after: Option<&Child>,
        limit: usize,
    ) -> Result<Vec<Child>, StateError> {
        let id = DirectoryId::derive(directory);
        let page = limit.clamp(CHILDREN_PAGE_MIN, CHILDREN_PAGE_MAX);
        let mut rows = Names::new(self, id, ChildKind::Row, after, page);
        let mut directories = Names::new(self, id, ChildKind::Directory, after, page);
        let mut children = Vec::new();
        while children.len() < limit {
            let row_is_next = match (rows.peek()?, directories.peek()?) {
                (None, None) => break,
                (Some(row), Some(directory)) => row <= directory,
                (row, None) => row.is_some(),
                (None, Some(_)) => false,
            };
            let names = if row_is_next { &mut rows } else { &mut directories };
            let name = names.ready.pop_front().expect("peek found a name");
            children.push(Child { name, directory: !row_is_next });
        }
        Ok(children)
    }

    /// At most `limit` names of flat rows of a directory after `after`, in order.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn flat_names(
        &self,
        directory: &[Bytes],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StateError> {
        let id = DirectoryId::derive(directory);
        let page = limit.clamp(CHILDREN_PAGE_MIN, CHILDREN_PAGE_MAX);
        let after = after.map(|name| Child { name: name.clone(), directory: false });
        let mut names = Names::new(self, id, ChildKind::Flat, after.as_ref(), page);
        let mut found = Vec::new();
        while found.len() < limit && names.peek()?.is_some() {
            found.push(names.ready.pop_front().expect("peek found a name"));
        }
        Ok(found)
    }

    pub(crate) fn page(&self, range: &Range<Bytes>, limit: usize) -> Result<Page, StateError> {
        self.shared.page_at(self.ticket, &range.start, &range.end, limit)
    }

    /// A whole record, by its logical key.
    pub(crate) fn record(&self, key: &[u8]) -> Result<Option<super::record::Record>, StateError> {
        self.shared.record_at(self.ticket, key)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut memory = self.shared.write();
        if memory.check(self.ticket).is_ok() {
            memory.undo.release(self.ticket.revision, self.ticket.exported);
            memory.garbage |= self.ticket.exported;
        }
    }
}

/// The names of one kind of child, read page by page.
struct Names<'a> {
    view: &'a View,
    page: usize,
    ready: VecDeque<Bytes>,
    /// What is not read yet; none at the end.
    rest: Option<Range<Bytes>>,
}

impl<'a> Names<'a> {
    fn new(
        view: &'a View,
        directory: DirectoryId,
        kind: ChildKind,
        after: Option<&Child>,
        page: usize,
    ) -> Self {
        let mut rest = directory.children(kind);
        if let Some(after) = after {
            let mut start = directory.child(kind, &after.name).to_vec();
            // A row and a directory of one name: the row comes first.
            if after.directory || kind != ChildKind::Directory {
                start.push(0);
            }
            rest.start = Bytes::from(start);
        }
        Self { view, page, ready: VecDeque::new(), rest: Some(rest) }
    }

    fn peek(&mut self) -> Result<Option<&Bytes>, StateError> {
        while self.ready.is_empty()
            && let Some(range) = self.rest.take()
        {
            let page = self.view.page(&range, self.page)?;
            self.ready.extend(page.found.iter().map(|(key, _)| key::child_name(key)));
            self.rest = page.next.map(|next| next..range.end);
        }
        Ok(self.ready.front())
    }
}

const CHILDREN_PAGE_MIN: usize = 16;
const CHILDREN_PAGE_MAX: usize = 256;
