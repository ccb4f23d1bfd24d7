//! What a rule gives, and under which conditions.

use serde_json::{Map, Value};

use super::capability::{Capabilities, Capability};
use super::list_filter::ListFilter;
use super::parameters::{ParameterRules, Permitted};
use super::question::{Denial, Page, PageLimit, Question};

/// The name under which LIST and SCAN take a page's size.
pub(super) const LIMIT: &str = "limit";

/// Capabilities and their conditions. One that denies has no conditions.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Grant {
    /// What it gives.
    pub(crate) capabilities: Capabilities,
    /// Parameters that may be sent; any where empty.
    pub(crate) allowed: ParameterRules,
    /// Parameters that may not be sent. They win over allowed ones.
    pub(crate) denied: ParameterRules,
    /// Parameters that must be sent, in lower case, without duplicates.
    pub(crate) required: Vec<Box<str>>,
    /// The answer must be wrapped for at least as long.
    pub(crate) wrap_ttl_ms_min: Option<u64>,
    /// The answer must be wrapped, and for no longer.
    pub(crate) wrap_ttl_ms_max: Option<u64>,
    /// The most names that one LIST or SCAN shows.
    pub(crate) page_max: Option<u64>,
    /// Which names a LIST or SCAN shows.
    pub(crate) list_filter: Option<ListFilter>,
}

impl Grant {
    /// Gives nothing.
    pub(crate) fn deny() -> Self {
        Self { capabilities: [Capability::Deny].into_iter().collect(), ..Self::default() }
    }

    /// Whether it denies.
    pub(crate) fn denies(&self) -> bool {
        self.capabilities.contains(Capability::Deny)
    }

    /// Adds what another rule for the same pattern says. Capabilities and parameters add up, of
    /// wrapping bounds and page sizes the smallest stands, and `deny` leaves nothing else.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.denies() || other.denies() {
            *self = Self::deny();
            return;
        }
        self.capabilities = self.capabilities.union(other.capabilities);
        self.allowed.merge(&other.allowed);
        self.denied.merge(&other.denied);
        for name in &other.required {
            self.require(name);
        }
        self.wrap_ttl_ms_min = smaller(self.wrap_ttl_ms_min, other.wrap_ttl_ms_min);
        self.wrap_ttl_ms_max = smaller(self.wrap_ttl_ms_max, other.wrap_ttl_ms_max);
        self.page_max = smaller(self.page_max, other.page_max);
        if self.list_filter.is_none() {
            self.list_filter.clone_from(&other.list_filter);
        }
    }

    /// Makes a parameter a required one.
    pub(crate) fn require(&mut self, name: &str) {
        let name = name.to_lowercase();
        if !self.required.iter().any(|known| **known == *name) {
            self.required.push(name.into());
        }
    }

    /// Whether it gives what is asked for.
    pub(super) fn check(&self, question: &Question<'_>) -> Result<Page, Denial<'_>> {
        if self.denies() {
            return Err(Denial::Explicit);
        }
        if !self.capabilities.contains(question.capability) {
            return Err(Denial::Capability(question.capability));
        }
        if question.needs_sudo && !self.capabilities.contains(Capability::Sudo) {
            return Err(Denial::Sudo);
        }
        self.check_wrapping(question.wrap_ttl_ms)?;
        if question.capability.takes_parameters() {
            self.check_parameters(question.parameters)?;
        }
        if question.capability.lists() { self.page(question.limit) } else { Ok(Page::AsAsked) }
    }

    fn check_wrapping(&self, ttl_ms: Option<u64>) -> Result<(), Denial<'_>> {
        let (min, max) = (self.wrap_ttl_ms_min, self.wrap_ttl_ms_max);
        if min.is_none() && max.is_none() {
            return Ok(());
        }
        if let (Some(min), Some(max)) = (min, max)
            && max < min
        {
            return Err(Denial::WrapBounds);
        }
        let ttl_ms = ttl_ms.ok_or(Denial::WrapMissing)?;
        match (min, max) {
            (_, Some(max)) if ttl_ms > max => Err(Denial::WrapTooLong(max)),
            (Some(min), _) if ttl_ms < min => Err(Denial::WrapTooShort(min)),
            _ => Ok(()),
        }
    }

    /// A required name must be sent as the rule's handler reads it, in lower case; for what is
    /// forbidden or allowed, case makes no difference.
    fn check_parameters(&self, sent: Option<&Map<String, Value>>) -> Result<(), Denial<'_>> {
        for name in &self.required {
            if !sent.is_some_and(|sent| sent.contains_key(&**name)) {
                return Err(Denial::ParameterMissing(name));
            }
        }
        for (name, value) in sent.into_iter().flatten() {
            if let Some(name) = self.denied.forbids(name, value) {
                return Err(Denial::ParameterDenied(name));
            }
        }
        for (name, value) in sent.into_iter().flatten() {
            match self.allowed.permits(name, value) {
                Permitted::Yes => {}
                Permitted::ValueMissing(name) => return Err(Denial::ValueNotAllowed(name)),
                Permitted::NameMissing => return Err(Denial::ParameterNotAllowed),
            }
        }
        Ok(())
    }

    /// How many names may be shown. 0 would be all, so it is above every limit.
    fn page(&self, limit: PageLimit) -> Result<Page, Denial<'_>> {
        let Some(max) = self.page_max else {
            return Ok(if limit == PageLimit::Max { Page::Unlimited } else { Page::AsAsked });
        };
        match limit {
            PageLimit::Absent if self.required.iter().any(|name| **name == *LIMIT) => {
                Err(Denial::ParameterMissing(LIMIT))
            }
            PageLimit::Absent | PageLimit::Max => Ok(Page::AtMost(max)),
            PageLimit::Count(count) if (1..=max).contains(&count) => Ok(Page::AsAsked),
            PageLimit::Count(_) | PageLimit::Unreadable => Err(Denial::PageLimit(max)),
        }
    }
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}
