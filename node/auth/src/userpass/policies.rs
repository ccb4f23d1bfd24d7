//! `users/:user/policies`: other policies.

use conclave_mount::fields::{Object, TextList, present};
use conclave_mount::{BodyFields, EngineError, Request, Response, Storage, word};
use serde::Deserialize;

use super::name;
use super::record::UserRecord;

/// Replaces the policies that the user's next tokens have.
pub(super) fn write(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let name = name::check(name)?;
    let Object(body): Object<PoliciesBody> = request.parse()?;
    let mut record = UserRecord::load_known(storage, &name)?;
    let TextList(policies) = body.token_policies.or(body.policies).ok_or_else(|| {
        EngineError::invalid("'token_policies' is missing; give the names of policies")
    })?;
    record.token.set_policies(policies)?;
    record.store(storage, &name)?;
    Ok(Response::empty())
}

pub(super) const POLICIES: BodyFields = BodyFields::of::<PoliciesBody>(&[
    word("token_policies", "The policies of the user's tokens."),
    word("policies", "Old name of `token_policies`."),
]);

#[derive(Deserialize)]
struct PoliciesBody {
    #[serde(default, deserialize_with = "present")]
    token_policies: Option<TextList>,
    #[serde(default, deserialize_with = "present")]
    policies: Option<TextList>,
}
