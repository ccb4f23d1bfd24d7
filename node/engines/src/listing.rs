//! LIST and SCAN: pages of names, with bounded work.

use conclave_mount::fields::query_whole;
use conclave_mount::{EngineError, ErrorCode, Request, Response, Storage, path};
use serde::Serialize;

/// Names in one answer; `after` continues.
pub(crate) const NAMES_MAX: usize = 100_000;
/// Names that one request looks at, shown or not.
const EXAMINED_MAX: usize = 100_000;
/// Directories that one SCAN opens.
const LISTS_MAX: usize = 10_000;
/// Names that a SCAN takes from a directory at a time.
const CHUNK_NAMES: usize = 10_000;

/// Which part of the names a request wants.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Names above this one.
    pub(crate) after: Option<String>,
    /// At most so many.
    pub(crate) limit: usize,
}

/// Names, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Relative to the directory that was asked for; directories end in a slash.
    pub(crate) keys: Vec<String>,
    /// Whether more may follow after the last one.
    pub(crate) more: bool,
}

/// Whether a name is shown.
pub(crate) type Visible<'a> = &'a dyn Fn(&str) -> bool;

impl Page {
    /// What the query says. A limit that does not limit is refused, so that no policy about limits
    /// is escaped.
    pub(crate) fn of(request: &Request, limit_max: usize) -> Result<Self, EngineError> {
        let after = request.query.get("after").filter(|after| !after.is_empty()).cloned();
        let limit = match query_whole(request, "limit")? {
            None => limit_max,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=limit_max).contains(limit))
                .ok_or_else(|| {
                    EngineError::invalid(format!("'limit' must be from 1 to {limit_max}"))
                })?,
        };
        Ok(Self { after, limit })
    }
}

impl Names {
    /// Clients take an empty list for a 404.
    pub(crate) fn answer(self) -> Result<Response, EngineError> {
        let more = self.more;
        answer(&KeysView { keys: &self.keys }, &self.keys, more)
    }
}

/// An answer that shows `keys`, with a hint where more follow.
pub(crate) fn answer(
    view: &impl Serialize,
    keys: &[String],
    more: bool,
) -> Result<Response, EngineError> {
    if keys.is_empty() {
        return Err(if more { nothing_shown() } else { EngineError::not_found() });
    }
    let mut response = Response::json(view)?;
    if more {
        response.warnings.push("more names follow; give the last one as 'after'".into());
    }
    Ok(response)
}

/// The visible names directly in `directory`.
pub(crate) fn list(
    storage: &mut dyn Storage,
    directory: &str,
    page: &Page,
    visible: Visible<'_>,
) -> Result<Names, EngineError> {
    let mut names = Names::default();
    let (mut after, mut examined) = (page.after.clone(), 0);
    while names.keys.len() < page.limit && examined < EXAMINED_MAX {
        let missing = page.limit - names.keys.len();
        let found = storage.list(directory, after.as_deref(), missing)?;
        names.more = found.more;
        examined += found.names.len();
        after = found.names.last().cloned();
        names.keys.extend(found.names.into_iter().filter(|name| visible(name)));
        if !found.more {
            break;
        }
    }
    Ok(names)
}

/// The visible names in `directory` and below. Directories themselves are no names here.
///
/// Depth first in the order of each directory is the order of whole paths, because a directory's
/// name has its slash; so the last name shown is all that is needed to go on.
pub(crate) fn scan(
    storage: &mut dyn Storage,
    directory: &str,
    page: &Page,
    visible: Visible<'_>,
) -> Result<Names, EngineError> {
    let mut walk = Walk::new(directory, page)?;
    let mut names = Names::default();
    while let Some(name) = walk.next_name(storage)? {
        if !visible(&name) {
            continue;
        }
        if names.keys.len() == page.limit {
            names.more = true;
            return Ok(names);
        }
        names.keys.push(name);
    }
    names.more = walk.cut;
    Ok(names)
}

/// A way through a tree of directories that ends at its bounds.
struct Walk<'a> {
    root: &'a str,
    chunk: usize,
    open: Vec<Directory>,
    lists: usize,
    examined: usize,
    /// Whether it ended at a bound.
    cut: bool,
}

/// A directory on the way.
struct Directory {
    /// Relative to the root: empty or with a slash at its end.
    prefix: String,
    /// The last name taken.
    after: Option<String>,
    /// Read and not taken.
    names: std::vec::IntoIter<String>,
    /// Whether there is more to read.
    more: bool,
}

impl<'a> Walk<'a> {
    fn new(root: &'a str, page: &Page) -> Result<Self, EngineError> {
        let chunk = (page.limit + 1).min(CHUNK_NAMES);
        let mut open = vec![Directory::new(String::new(), None)];
        if let Some(after) = &page.after {
            path::check(after.strip_suffix('/').unwrap_or(after))
                .map_err(|rule| EngineError::invalid(format!("'after' is no name: {rule}")))?;
            let mut rest = after.as_str();
            while let Some((head, tail)) = rest.split_once('/') {
                let directory = open.last_mut().expect("the root is never closed here");
                directory.after = Some(format!("{head}/"));
                let prefix = format!("{}{head}/", directory.prefix);
                open.push(Directory::new(prefix, None));
                rest = tail;
            }
            let last = open.last_mut().expect("the root is never closed here");
            last.after = Some(rest).filter(|rest| !rest.is_empty()).map(str::to_owned);
        }
        Ok(Self { root, chunk, open, lists: 0, examined: 0, cut: false })
    }

    fn next_name(&mut self, storage: &mut dyn Storage) -> Result<Option<String>, EngineError> {
        while let Some(directory) = self.open.last_mut() {
            let Some(name) = directory.names.next() else {
                if !directory.more {
                    self.open.pop();
                    continue;
                }
                if self.lists >= LISTS_MAX {
                    self.cut = true;
                    return Ok(None);
                }
                self.lists += 1;
                directory.read(storage, self.root, self.chunk)?;
                continue;
            };
            if self.examined >= EXAMINED_MAX {
                self.cut = true;
                return Ok(None);
            }
            self.examined += 1;
            let name = format!("{}{name}", directory.prefix);
            if !name.ends_with('/') {
                return Ok(Some(name));
            }
            self.open.push(Directory::new(name, None));
        }
        Ok(None)
    }
}

impl Directory {
    fn new(prefix: String, after: Option<String>) -> Self {
        Self { prefix, after, names: Vec::new().into_iter(), more: true }
    }

    fn read(
        &mut self,
        storage: &mut dyn Storage,
        root: &str,
        chunk: usize,
    ) -> Result<(), EngineError> {
        let path = match self.prefix.strip_suffix('/') {
            Some(prefix) => format!("{root}/{prefix}"),
            None => root.to_owned(),
        };
        let page = storage.list(&path, self.after.as_deref(), chunk)?;
        self.more = page.more;
        if let Some(last) = page.names.last() {
            self.after = Some(last.clone());
        }
        self.names = page.names.into_iter();
        Ok(())
    }
}

fn nothing_shown() -> EngineError {
    EngineError::new(
        ErrorCode::TooLarge,
        "too many names here are hidden from you to look through at once; ask for a directory \
         below",
    )
}

#[derive(Serialize)]
struct KeysView<'a> {
    keys: &'a [String],
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use conclave_mount::testing::MemoryStorage;
    use proptest::prelude::*;

    use super::*;

    fn storage(names: &[String]) -> MemoryStorage {
        let mut storage = MemoryStorage::default();
        for name in names {
            storage.put(&format!("root/{name}"), Bytes::new()).unwrap();
        }
        storage
    }

    fn page(after: Option<&str>, limit: usize) -> Page {
        Page { after: after.map(str::to_owned), limit }
    }

    fn names_in() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ab-]{1,2}(/[ab-]{1,2}){0,3}", 0..20)
    }

    proptest! {
        #[test]
        fn pages_of_a_scan_make_the_sorted_whole(names in names_in(), limit in 1_usize..5) {
            let mut expected = names.clone();
            expected.sort();
            expected.dedup();
            let visible = |name: &str| !name.contains("bb");
            expected.retain(|name| visible(name));
            let mut storage = storage(&names);
            let (mut shown, mut after) = (Vec::new(), None::<String>);
            loop {
                let found =
                    scan(&mut storage, "root", &page(after.as_deref(), limit), &visible).unwrap();
                prop_assert!(found.keys.len() <= limit);
                shown.extend(found.keys.iter().cloned());
                after = found.keys.last().cloned();
                if !found.more {
                    break;
                }
            }
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn pages_of_a_list_make_the_whole(names in names_in(), limit in 1_usize..5) {
            let mut storage = storage(&names);
            let visible = |name: &str| !name.contains("bb");
            let mut expected = storage.list("root", None, 1000).unwrap().names;
            expected.retain(|name| visible(name));
            let (mut shown, mut after) = (Vec::new(), None::<String>);
            loop {
                let found =
                    list(&mut storage, "root", &page(after.as_deref(), limit), &visible).unwrap();
                shown.extend(found.keys.iter().cloned());
                after = found.keys.last().cloned();
                if !found.more {
                    break;
                }
            }
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn a_scan_begins_anywhere(names in names_in(), after in "[ab-]{1,2}(/[ab-]{1,2}){0,3}/?") {
            let mut expected = names.clone();
            expected.sort();
            expected.dedup();
            expected.retain(|name| name.as_str() > after.as_str());
            let found = scan(&mut storage(&names), "root", &page(Some(&after), 100), &|_| true);
            prop_assert_eq!(found.unwrap().keys, expected);
        }
    }

    #[test]
    fn the_work_of_a_scan_is_bounded_and_it_goes_on() {
        let names: Vec<_> = (0..LISTS_MAX + 5).map(|i| format!("{i:06}/x")).collect();
        let mut storage = storage(&names);
        let found = scan(&mut storage, "root", &page(None, NAMES_MAX), &|_| true).unwrap();
        assert!(found.more && storage.lists == LISTS_MAX);
        let after = found.keys.last().unwrap();
        let rest = scan(&mut storage, "root", &page(Some(after), NAMES_MAX), &|_| true).unwrap();
        assert_eq!((found.keys.len() + rest.keys.len(), rest.more), (names.len(), false));
    }

    #[test]
    fn an_after_that_is_no_name_is_refused() {
        for after in ["/", "a//b", "../x", &"a/".repeat(100)] {
            let found = scan(&mut storage(&[]), "root", &page(Some(after), 1), &|_| true);
            assert_eq!(found.unwrap_err().code, ErrorCode::InvalidRequest, "{after}");
        }
    }
}
