//! `users/` and `users/:user`: who may log in.

use conclave_mount::fields::{DurationMs, Object, TextList, present, query_whole};
use conclave_mount::{
    BodyFields, EngineError, Request, Response, Storage, TokenFields, TokenFieldsBody,
    TokenFieldsView, Workers, word,
};
use serde::{Deserialize, Serialize};

use super::name;
use super::password::PasswordBody;
use super::record::{USERS, UserRecord};

/// Names in one answer; `after` continues.
const LIST_NAMES_MAX: usize = 100_000;

/// The users' names.
pub(super) fn list(request: &Request, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let limit = query_whole(request, "limit")?.unwrap_or(LIST_NAMES_MAX as u64);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=LIST_NAMES_MAX).contains(limit));
    let limit = limit.ok_or_else(|| {
        EngineError::invalid(format!("'limit' must be from 1 to {LIST_NAMES_MAX}"))
    })?;
    let after = request.query.get("after").map(String::as_str).filter(|after| !after.is_empty());
    let page = storage.list(USERS, after, limit)?;
    if page.names.is_empty() {
        return Err(EngineError::not_found());
    }
    let mut response = Response::json(&ListView { keys: page.names })?;
    if page.more {
        response.warnings.push("more names follow; give the last one as 'after'".into());
    }
    Ok(response)
}

/// What a login yields. Nothing of the password is shown, not even its hash.
pub(super) fn read(name: &str, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    let name = name::check(name)?;
    let record = UserRecord::load(storage, &name)?.ok_or_else(EngineError::not_found)?;
    Response::json(&UserView::new(&record.token))
}

/// Creates a user, who needs a password, or changes what the body names.
pub(super) async fn write(
    request: &Request,
    name: &str,
    workers: &dyn Workers,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let name = name::check(name)?;
    let Object(old_names): Object<OldNames> = request.parse()?;
    let Object(fields): Object<TokenFieldsBody> = request.parse()?;
    let Object(password): Object<PasswordBody> = request.parse()?;
    let known = UserRecord::load(storage, &name)?;
    let is_new = known.is_none();
    let mut record = known.unwrap_or_default();
    old_names.apply(&mut record.token)?;
    fields.apply(&mut record.token)?;
    match password.hash(workers, request).await? {
        Some(hash) => record.password_hash = hash,
        None if is_new => return Err(EngineError::invalid("missing password")),
        None => {}
    }
    record.store(storage, &name)?;
    Ok(Response::empty())
}

/// Removes a user; no error where none is there. Tokens that the user has live on.
pub(super) fn delete(name: &str, storage: &mut dyn Storage) -> Result<Response, EngineError> {
    UserRecord::remove(storage, &name::check(name)?)?;
    Ok(Response::empty())
}

pub(super) const OLD_NAMES: BodyFields = BodyFields::of::<OldNames>(&[
    word("policies", "Old name of `token_policies`."),
    word("ttl", "Old name of `token_ttl`."),
    word("max_ttl", "Old name of `token_max_ttl`."),
    word("bound_cidrs", "Old name of `token_bound_cidrs`."),
]);

/// What fields were called before they were shared; the new names win.
#[derive(Deserialize)]
struct OldNames {
    #[serde(default, deserialize_with = "present")]
    policies: Option<TextList>,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    max_ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    bound_cidrs: Option<TextList>,
}

impl OldNames {
    fn apply(self, token: &mut TokenFields) -> Result<(), EngineError> {
        if let Some(TextList(policies)) = self.policies {
            token.set_policies(policies)?;
        }
        if let Some(TextList(networks)) = self.bound_cidrs {
            token.set_bound_cidrs(networks)?;
        }
        if let Some(DurationMs(ms)) = self.ttl {
            token.ttl_ms = ms;
        }
        if let Some(DurationMs(ms)) = self.max_ttl {
            token.max_ttl_ms = ms;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct ListView {
    keys: Vec<String>,
}

#[derive(Serialize)]
struct UserView<'a> {
    #[serde(flatten)]
    token: TokenFieldsView<'a>,
    /// Tools that know the old name look for it where a user has policies.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    policies: &'a [String],
}

impl<'a> UserView<'a> {
    fn new(token: &'a TokenFields) -> Self {
        Self { token: token.view(), policies: &token.policies }
    }
}
