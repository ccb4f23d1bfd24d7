//! `auth/token/roles`: what tokens made by a role are like.

use conclave_mount::fields::{DurationMs, Flag, Object, TextList, Whole};
use conclave_mount::{BodyFields, Networks, word};
use serde::{Deserialize, Serialize};

use crate::routes::Ask;
use crate::token::{self, DEFAULT_POLICY, ROOT_POLICY, RoleRecord, TokenRecord};
use crate::{Error, ErrorCode, Response, errors, rows};

/// Roles in one answer.
const ROLES_MAX: usize = 100_000;

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let page = ask.tx.list(&rows::token_roles(), None, ROLES_MAX).map_err(errors::from_barrier)?;
    if page.names.is_empty() {
        return Err(Error::not_found());
    }
    Response::json(&ListView { keys: page.names })
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    let role = token::load_role(ask.tx, &name)?.ok_or_else(Error::not_found)?;
    Response::json(&RoleView::new(&name, &role))
}

/// Changes what the body names; makes the role where it is not there yet.
pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    let Object(body): Object<Body> = ask.request.parse()?;
    let mut role = token::load_role(ask.tx, &name)?.unwrap_or_default();
    body.apply(&mut role)?;
    token::put_role(ask.tx, &name, &role)?;
    Ok(Response::empty())
}

pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    token::delete_role(ask.tx, &name)?;
    Ok(Response::empty())
}

/// Which policies a token of this role gets.
pub(super) fn policies(
    name: &str,
    role: &RoleRecord,
    asked: &[String],
    parent: &TokenRecord,
) -> Result<Vec<String>, Error> {
    let is_open = role.allowed_policies.is_empty() && role.allowed_policies_glob.is_empty();
    let policies = match (is_open, asked.is_empty()) {
        (true, true) => parent.policies.clone(),
        (false, true) => role.allowed_policies.clone(),
        (_, false) => asked.to_vec(),
    };
    let is_allowed = |policy: &str| {
        policy == DEFAULT_POLICY
            || role.allowed_policies.iter().any(|allowed| allowed == policy)
            || role.allowed_policies_glob.iter().any(|glob| matches_glob(glob, policy))
    };
    let is_held = |policy: &str| {
        policy == DEFAULT_POLICY || parent.policies.iter().any(|held| held == policy)
    };
    for policy in &policies {
        // A role that allows nothing by name gives what its caller holds, unless it is left out.
        let restricts = !is_open
            || !role.disallowed_policies.is_empty()
            || !role.disallowed_policies_glob.is_empty();
        if !is_open && !is_allowed(policy) {
            return Err(denied(format!(
                "token policies ({policies:?}) must be subset of the role's allowed policies \
                 ({:?}) or glob policies ({:?})",
                role.allowed_policies, role.allowed_policies_glob
            )));
        }
        if is_disallowed(role, policy) {
            return Err(denied(format!(
                "token policy {policy:?} is disallowed by the role {name:?}; leave it out"
            )));
        }
        if !restricts && !is_held(policy) && !parent.is_root() {
            return Err(denied("child policies must be subset of parent".to_owned()));
        }
    }
    if policies.iter().any(|policy| policy == ROOT_POLICY) {
        return Err(denied("a role makes no root tokens; use 'auth/token/create'".to_owned()));
    }
    Ok(policies)
}

fn is_disallowed(role: &RoleRecord, policy: &str) -> bool {
    role.disallowed_policies.iter().any(|name| name == policy)
        || role.disallowed_policies_glob.iter().any(|glob| matches_glob(glob, policy))
}

/// `*` stands for any text, wherever it stands.
fn matches_glob(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn denied(message: String) -> Error {
    Error::new(ErrorCode::InvalidRequest, message)
}

pub(super) const ROLE: BodyFields = BodyFields::of::<Body>(&[
    word("allowed_policies", "The policies that tokens of this role may have."),
    word("disallowed_policies", "The policies that they may not have."),
    word("allowed_policies_glob", "The same as `allowed_policies`, with `*` for any text."),
    word("disallowed_policies_glob", "The same as `disallowed_policies`, with `*` for any text."),
    word("orphan", "Whether they live on when their maker's token ends."),
    word("renewable", "Whether they can be prolonged."),
    word("path_suffix", "What stands behind the path that they say they were made at."),
    word("token_explicit_max_ttl", "How long they live at the most."),
    word("explicit_max_ttl", "Old name of `token_explicit_max_ttl`."),
    word("token_period", "What each renewal prolongs them to, for ever."),
    word("period", "Old name of `token_period`."),
    word("token_num_uses", "How often each can be used; 0 for no bound."),
    word("token_bound_cidrs", "The networks that they work from."),
    word("bound_cidrs", "Old name of `token_bound_cidrs`."),
    word("token_no_default_policy", "Whether the policy `default` is left out."),
    word("token_type", "`service`, `batch`, or a default that the caller may change."),
    word("allowed_entity_aliases", "Not supported: must be empty."),
]);

#[derive(Deserialize)]
struct Body {
    allowed_policies: Option<TextList>,
    disallowed_policies: Option<TextList>,
    allowed_policies_glob: Option<TextList>,
    disallowed_policies_glob: Option<TextList>,
    orphan: Option<Flag>,
    renewable: Option<Flag>,
    path_suffix: Option<String>,
    #[serde(alias = "explicit_max_ttl")]
    token_explicit_max_ttl: Option<DurationMs>,
    #[serde(alias = "period")]
    token_period: Option<DurationMs>,
    token_num_uses: Option<Whole>,
    #[serde(alias = "bound_cidrs")]
    token_bound_cidrs: Option<TextList>,
    token_no_default_policy: Option<Flag>,
    token_type: Option<String>,
    allowed_entity_aliases: Option<TextList>,
}

impl Body {
    fn apply(self, role: &mut RoleRecord) -> Result<(), Error> {
        let set = |place: &mut Vec<String>, list: Option<TextList>| {
            if let Some(TextList(texts)) = list {
                *place = texts;
            }
        };
        let lower = |list: Option<TextList>| {
            list.map(|TextList(texts)| TextList(texts.iter().map(|t| t.to_lowercase()).collect()))
        };
        set(&mut role.allowed_policies, lower(self.allowed_policies));
        set(&mut role.disallowed_policies, lower(self.disallowed_policies));
        set(&mut role.allowed_policies_glob, lower(self.allowed_policies_glob));
        set(&mut role.disallowed_policies_glob, lower(self.disallowed_policies_glob));
        set(&mut role.allowed_entity_aliases, self.allowed_entity_aliases);
        if let Some(TextList(cidrs)) = self.token_bound_cidrs {
            Networks::parse(&cidrs)?;
            role.bound_cidrs = cidrs;
        }
        if let Some(suffix) = self.path_suffix {
            role.path_suffix = check_suffix(suffix)?;
        }
        if let Some(kind) = self.token_type {
            role.kind = check_kind(kind)?;
        }
        role.orphan = self.orphan.map_or(role.orphan, |Flag(flag)| flag);
        role.fixed = self.renewable.map_or(role.fixed, |Flag(renewable)| !renewable);
        role.explicit_max_ttl_ms =
            self.token_explicit_max_ttl.map_or(role.explicit_max_ttl_ms, |DurationMs(ms)| ms);
        role.period_ms = self.token_period.map_or(role.period_ms, |DurationMs(ms)| ms);
        role.num_uses = self.token_num_uses.map_or(role.num_uses, |Whole(uses)| uses);
        role.no_default_policy =
            self.token_no_default_policy.map_or(role.no_default_policy, |Flag(flag)| flag);
        Ok(())
    }
}

fn check_suffix(suffix: String) -> Result<String, Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if suffix.len() > 256 || !suffix.chars().all(fits) || suffix.contains("..") {
        return Err(Error::invalid(
            "'path_suffix' may have letters, digits and -_.:/ without '..'; choose another",
        ));
    }
    Ok(suffix)
}

fn check_kind(kind: String) -> Result<String, Error> {
    match kind.as_str() {
        "" | "default" | "default-service" => Ok("default-service".into()),
        "service" | "batch" | "default-batch" => Ok(kind),
        _ => Err(Error::invalid(
            "invalid 'token_type' value; choose 'service', 'batch', 'default-service' or \
             'default-batch'",
        )),
    }
}

#[derive(Serialize)]
struct ListView {
    keys: Vec<String>,
}

#[derive(Serialize)]
struct RoleView<'a> {
    allowed_entity_aliases: &'a [String],
    allowed_policies: &'a [String],
    allowed_policies_glob: &'a [String],
    disallowed_policies: &'a [String],
    disallowed_policies_glob: &'a [String],
    explicit_max_ttl: u64,
    name: &'a str,
    orphan: bool,
    path_suffix: &'a str,
    period: u64,
    renewable: bool,
    token_bound_cidrs: &'a [String],
    token_explicit_max_ttl: u64,
    token_no_default_policy: bool,
    token_num_uses: u64,
    token_period: u64,
    token_type: &'a str,
}

impl<'a> RoleView<'a> {
    fn new(name: &'a str, role: &'a RoleRecord) -> Self {
        Self {
            allowed_entity_aliases: &role.allowed_entity_aliases,
            allowed_policies: &role.allowed_policies,
            allowed_policies_glob: &role.allowed_policies_glob,
            disallowed_policies: &role.disallowed_policies,
            disallowed_policies_glob: &role.disallowed_policies_glob,
            explicit_max_ttl: role.explicit_max_ttl_ms / 1000,
            name,
            orphan: role.orphan,
            path_suffix: &role.path_suffix,
            period: role.period_ms / 1000,
            renewable: !role.fixed,
            token_bound_cidrs: &role.bound_cidrs,
            token_explicit_max_ttl: role.explicit_max_ttl_ms / 1000,
            token_no_default_policy: role.no_default_policy,
            token_num_uses: role.num_uses,
            token_period: role.period_ms / 1000,
            token_type: if role.kind.is_empty() { "default-service" } else { &role.kind },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (glob, text, matches) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_glob(glob, text), matches, "{glob} {text}");
        }
    }
}
