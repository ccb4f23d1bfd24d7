//! LIST and SCAN: how many names are asked for, and which of them the caller is shown.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::policy::{Acl, Capability, Decision, ListFilter, Page, Question};
use crate::{Error, Response};

/// What the deciding rule says about lists. The default changes nothing.
#[derive(Default)]
pub(crate) struct Shown {
    page: Page,
    filter: Option<ListFilter>,
}

impl Shown {
    pub(crate) fn new(decision: &Decision<'_>) -> Self {
        Self { page: decision.page, filter: decision.list_filter.cloned() }
    }

    /// The query as the handler sees it.
    pub(crate) fn query(&self, asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut query = asked.clone();
        match self.page {
            Page::AsAsked => {}
            Page::Unlimited => drop(query.remove(LIMIT)),
            Page::AtMost(names) => drop(query.insert(LIMIT.to_owned(), names.to_string())),
        }
        query
    }

    /// The answer to a LIST of `path` with those names alone that the caller may know.
    pub(crate) fn filter(
        &self,
        acl: &Acl,
        path: &str,
        mut answer: Response,
    ) -> Result<Response, Error> {
        let (Some(filter), Some(data)) = (&self.filter, &answer.data) else { return Ok(answer) };
        let mut data: Map<String, Value> = serde_json::from_slice(data)
            .map_err(|_| Error::internal("the answer to a LIST is no JSON object"))?;
        let is_shown = |key: &str| {
            let path = filter.path_for(path, key);
            let may = |capability| acl.decide(&Question::new(&path, capability)).allowed;
            may(Capability::Read) || may(Capability::List)
        };
        if let Some(Value::Array(keys)) = data.get_mut("keys") {
            keys.retain(|key| key.as_str().is_some_and(is_shown));
        }
        if let Some(Value::Object(info)) = data.get_mut("key_info") {
            info.retain(|key, _| is_shown(key));
        }
        let data = serde_json::to_vec(&data)
            .map_err(|_| Error::internal("the answer to a LIST cannot be written"))?;
        answer.data = Some(Bytes::from(data));
        Ok(answer)
    }
}

/// The query parameter for the number of names.
pub(crate) const LIMIT: &str = "limit";
