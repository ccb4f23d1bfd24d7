//! Making tokens.

use std::collections::BTreeMap;

use conclave_mount::fields::{DurationMs, Flag, Object, TextList, Whole};
use conclave_mount::{BodyFields, Networks, check_policy_name, word};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{roles, view};
use crate::routes::Ask;
use crate::token::{self, Kind, NewToken, ROOT_POLICY, RoleRecord, TokenRecord};
use crate::{Error, ErrorCode, Response};

/// A child of the caller's token.
pub(super) fn child(ask: &mut Ask<'_>) -> Result<Response, Error> {
    create(ask, false, None)
}

/// A token without a parent. The route asks for `sudo`.
pub(super) fn orphan(ask: &mut Ask<'_>) -> Result<Response, Error> {
    create(ask, true, None)
}

/// A token as a role says.
pub(super) fn by_role(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    let role = token::load_role(ask.tx, &name)?;
    let role = role.ok_or_else(|| Error::invalid(format!("unknown role {name}")))?;
    create(ask, role.orphan, Some((&name, &role)))
}

fn create(
    ask: &mut Ask<'_>,
    orphan: bool,
    role: Option<(&str, &RoleRecord)>,
) -> Result<Response, Error> {
    let Object(body): Object<Body> = ask.request.parse()?;
    let parent = &ask.caller.record;
    if parent.uses_left > 0 {
        return Err(Error::invalid("restricted use token cannot generate child tokens"));
    }
    if parent.is_batch() {
        return Err(Error::invalid("batch tokens cannot create more tokens"));
    }
    body.check(ask.sudo, role.is_some())?;
    let policies = match role {
        Some((name, role)) => roles::policies(name, role, &body.policies(), parent)?,
        None => policies(&body, parent, ask.sudo)?,
    };
    check_root(&policies, parent, &body)?;
    let orphan = orphan || body.no_parent();
    let new = NewToken {
        parent: if orphan { Vec::new() } else { ask.caller.hash.to_vec() },
        path: path(ask, role),
        policies,
        ..body.into_new(role)?
    };
    let core = ask.core;
    let made = token::make(&core.barrier, &core.ports, ask.tx, new, ask.call.now_ms)?;
    let mut warnings = made.warnings;
    warnings.extend(missing_policies(ask, &made.record)?);
    view::granted(&made.text, &made.record, warnings, ask.call.now_ms)
}

/// Where it is made, so that it can be told from what other roles made.
fn path(ask: &Ask<'_>, role: Option<(&str, &RoleRecord)>) -> String {
    match role {
        Some((_, role)) if !role.path_suffix.is_empty() => {
            format!("{}/{}", ask.request.path, role.path_suffix)
        }
        _ => ask.request.path.clone(),
    }
}

/// Without a role: the parent's where none are named, and never more than the parent has unless
/// the caller has `sudo`.
fn policies(body: &Body, parent: &TokenRecord, sudo: bool) -> Result<Vec<String>, Error> {
    let asked = body.policies();
    if asked.is_empty() {
        return Ok(parent.policies.clone());
    }
    let is_held = |policy: &String| {
        policy.as_str() == token::DEFAULT_POLICY || parent.policies.contains(policy)
    };
    if !sudo && !asked.iter().all(is_held) {
        return Err(Error::invalid("child policies must be subset of parent"));
    }
    Ok(asked)
}

/// Root begets root only, and an ending one begets no endless one.
fn check_root(policies: &[String], parent: &TokenRecord, body: &Body) -> Result<(), Error> {
    if !policies.iter().any(|policy| policy == ROOT_POLICY) {
        return Ok(());
    }
    if !parent.is_root() {
        return Err(Error::invalid(
            "root tokens may not be created without parent token being root",
        ));
    }
    let endless = body.ttl_ms() == 0 && body.explicit_max_ttl_ms() == 0 && body.period_ms() == 0;
    if endless && parent.expires_ms > 0 {
        return Err(Error::invalid("expiring root tokens cannot create non-expiring root tokens"));
    }
    Ok(())
}

fn missing_policies(ask: &mut Ask<'_>, record: &TokenRecord) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for policy in &record.policies {
        if !ask.core.policies.exists(ask.tx, policy, ask.call.now_ms)? {
            warnings.push(format!("Policy {policy:?} does not exist"));
        }
    }
    Ok(warnings)
}

pub(super) const CREATE: BodyFields = BodyFields::of::<Body>(&[
    word("id", "The text of the new token, where the caller chooses it; needs `sudo`."),
    word("policies", "The policies of the new token; the caller's where nothing is said."),
    word("meta", "Texts by name that audit logs show beside the token."),
    word("no_parent", "Whether the new token lives on when the caller's ends; needs `sudo`."),
    word("no_default_policy", "Whether the policy `default` is left out."),
    word("renewable", "Whether it can be prolonged."),
    word("ttl", "How long it lives."),
    word("lease", "Old name of `ttl`."),
    word("type", "`service` or `batch`."),
    word("explicit_max_ttl", "How long it lives at the most, however often it is prolonged."),
    word("display_name", "What it is called in audit logs."),
    word("num_uses", "How often it can be used; 0 for no bound."),
    word("period", "What each renewal prolongs it to, for ever; needs `sudo`."),
    word("entity_alias", "Not supported: must be empty."),
]);

#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    policies: Option<TextList>,
    meta: Option<BTreeMap<String, String>>,
    no_parent: Option<Flag>,
    no_default_policy: Option<Flag>,
    renewable: Option<Flag>,
    ttl: Option<DurationMs>,
    /// The old name of `ttl`.
    lease: Option<DurationMs>,
    #[serde(rename = "type")]
    kind: Option<String>,
    explicit_max_ttl: Option<DurationMs>,
    display_name: Option<String>,
    num_uses: Option<Whole>,
    period: Option<DurationMs>,
    entity_alias: Option<String>,
}

impl Body {
    /// What is refused whoever asks, and what needs `sudo`.
    fn check(&self, sudo: bool, by_role: bool) -> Result<(), Error> {
        self.policies().iter().try_for_each(|policy| check_policy_name(policy))?;
        let id = self.id.as_deref().unwrap_or_default();
        let needs_sudo = if !id.is_empty() {
            "specify token id"
        } else if self.no_parent() && !by_role {
            "create orphan token"
        } else if self.period_ms() > 0 && !by_role {
            "create periodic token"
        } else {
            ""
        };
        if !sudo && !needs_sudo.is_empty() {
            return Err(Error::new(
                ErrorCode::InvalidRequest,
                format!("root or sudo privileges required to {needs_sudo}"),
            ));
        }
        if ["s.", "b.", "r.", "hvs.", "hvb.", "hvr."].iter().any(|known| id.starts_with(known)) {
            return Err(Error::invalid("custom token ID cannot have the 's.' prefix"));
        }
        if id.contains('.') {
            return Err(Error::invalid("custom token ID cannot have a '.' character"));
        }
        match self.entity_alias.as_deref() {
            None | Some("") => Ok(()),
            Some(_) => {
                Err(Error::invalid("'entity_alias' is only allowed in combination with token role"))
            }
        }
    }

    /// In the one spelling that every later check sees; the list is read without blanks around names.
    fn policies(&self) -> Vec<String> {
        let policies = self.policies.iter().flat_map(|list| &list.0);
        policies.map(|policy| policy.to_lowercase()).collect()
    }

    fn no_parent(&self) -> bool {
        matches!(self.no_parent, Some(Flag(true)))
    }

    /// What the caller asked for, unless the role leaves no choice.
    fn kind(&self, role: Option<&RoleRecord>) -> Result<Kind, Error> {
        let by_role = role.map_or("", |role| role.kind.as_str());
        let asked = self.kind.as_deref().filter(|kind| !kind.is_empty());
        let named = match (by_role, asked) {
            ("service" | "batch", _) | (_, None) => by_role,
            (_, Some(asked)) => asked,
        };
        match named {
            "" | "service" | "default-service" => Ok(Kind::Service),
            "batch" | "default-batch" => Ok(Kind::Batch),
            _ => Err(Error::invalid("invalid 'token_type' value; choose 'service' or 'batch'")),
        }
    }

    fn ttl_ms(&self) -> u64 {
        self.ttl.or(self.lease).map_or(0, |DurationMs(ms)| ms)
    }

    fn explicit_max_ttl_ms(&self) -> u64 {
        self.explicit_max_ttl.map_or(0, |DurationMs(ms)| ms)
    }

    fn period_ms(&self) -> u64 {
        self.period.map_or(0, |DurationMs(ms)| ms)
    }

    /// All but parent, path and policies; a role's bounds win where they are tighter.
    fn into_new(self, role: Option<(&str, &RoleRecord)>) -> Result<NewToken, Error> {
        let kind = self.kind(role.map(|(_, role)| role))?;
        let (ttl_ms, explicit, period) =
            (self.ttl_ms(), self.explicit_max_ttl_ms(), self.period_ms());
        let num_uses = self.num_uses.map_or(0, |Whole(uses)| uses);
        let mut new = NewToken {
            text: self.id.filter(|id| !id.is_empty()).map(Zeroizing::new),
            display_name: display_name(self.display_name.as_deref().unwrap_or_default()),
            no_default_policy: matches!(self.no_default_policy, Some(Flag(true))),
            metadata: self.meta.unwrap_or_default(),
            ttl_ms,
            explicit_max_ttl_ms: explicit,
            period_ms: period,
            num_uses,
            renewable: !matches!(self.renewable, Some(Flag(false))),
            kind,
            ..NewToken::default()
        };
        let Some((name, role)) = role else { return Ok(new) };
        new.role = name.to_owned();
        new.renewable &= !role.fixed;
        new.no_default_policy |= role.no_default_policy;
        new.period_ms = if role.period_ms > 0 { role.period_ms } else { period };
        new.explicit_max_ttl_ms = tighter(explicit, role.explicit_max_ttl_ms);
        new.num_uses = tighter(num_uses, role.num_uses);
        Networks::parse(&role.bound_cidrs)?;
        new.bound_cidrs.clone_from(&role.bound_cidrs);
        Ok(new)
    }
}

/// The smaller of two bounds, where 0 is none.
fn tighter(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, bound) | (bound, 0) => bound,
        (one, other) => one.min(other),
    }
}

/// `token`, and what its maker calls it with everything but letters and digits as a dash.
fn display_name(asked: &str) -> String {
    let mut name = String::from("token");
    let cleaned: String =
        asked.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let cleaned = cleaned.trim_matches('-');
    if !cleaned.is_empty() {
        name.push('-');
        name.push_str(cleaned);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_are_clean() {
        for (asked, name) in
            [("", "token"), ("a b", "token-a-b"), ("-x-", "token-x"), ("é", "token")]
        {
            assert_eq!(display_name(asked), name);
        }
    }

    #[test]
    fn zero_bounds_nothing() {
        assert_eq!([tighter(0, 0), tighter(0, 5), tighter(5, 0), tighter(5, 3)], [0, 5, 5, 3]);
    }
}
