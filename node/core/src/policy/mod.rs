//! Policies: who may do what.
//!
//! A policy's text becomes a [`Policy`]; the policies of one caller become an [`Acl`], which answers
//! [`Question`]s. What it keeps:
//!
//! - Nothing is allowed that no rule allows, and exactly one merged rule decides about a path.
//! - An exact rule goes before one with a wildcard, and among those the most specific one decides,
//!   by the five rules that Vault documents (`Precedence` in `pattern.rs`). Rules for the same
//!   pattern are merged across policies, and `deny` among them leaves nothing else.
//! - What cannot be evaluated refuses: a template that cannot be rendered never widens what a caller
//!   may do.
//! - A decision's work is bounded by the path, not by the number of rules (`trie.rs`).
//!
//! It reads no clock and no storage and knows no token: who calls it hands in the parsed policies,
//! the caller's identity and the time. It must see the canonical path, the same one that routing,
//! audit and storage see, and the same parameters that the handler will see.

// The order to read in.
mod parse;
mod written;

mod acl;
mod explain;
mod lint;
mod question;

// What the above stands on.
mod capability;
mod grant;
mod identity;
mod list_filter;
mod parameters;
mod pattern;
mod template;
mod trie;

#[cfg(test)]
mod tests;

pub(crate) use acl::{Acl, MergedRule, RuleId};
pub(crate) use capability::Capability;
pub(crate) use list_filter::ListFilter;
pub(crate) use question::{Decision, Page, PageLimit, Question};
pub(crate) use written::Policy;

// What tests look at beside.
#[cfg(test)]
use self::{
    capability::Capabilities,
    explain::{Explanation, Loss},
    identity::{AliasView, GroupView, IdentityView},
    lint::{Doubt, Warning},
    parse::PolicyError,
    question::Denial,
    written::Position,
};
