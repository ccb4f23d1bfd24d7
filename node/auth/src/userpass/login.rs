//! `login/:user`: a password for a token.

use std::collections::BTreeMap;

use conclave_mount::fields::{Object, present};
use conclave_mount::{
    BodyFields, EngineError, ErrorCode, Request, Response, Storage, Workers, word,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::name::canonical;
use super::record::UserRecord;
use super::{hash, record};

/// Checks the password. Everything that can be wrong about name and password has one answer, which
/// is also what a user hears who is locked out.
pub(super) async fn log_in(
    request: &Request,
    name: &str,
    workers: &dyn Workers,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let Object(LoginBody { password }) = request.parse()?;
    let password = hash::given(password.map(Zeroizing::new))?;
    let user = match canonical(name) {
        Some(name) => UserRecord::load(storage, &name)?.map(|record| (name, record)),
        None => None,
    };
    let stored = user.as_ref().map(|(_, record)| record.password_hash.clone());
    let cost = record::cost(storage)?;
    let proven = hash::verify(workers, password, stored, cost).await?;
    let Some((name, record)) = user.filter(|_| proven) else {
        return Err(EngineError::new(ErrorCode::PermissionDenied, "permission denied"));
    };
    let metadata = BTreeMap::from([("username".to_owned(), name.clone())]);
    let login = record.token.login(&name, metadata, request.caller.address)?;
    Ok(Response { login: Some(Box::new(login)), ..Response::default() })
}

pub(super) const LOGIN: BodyFields =
    BodyFields::of::<LoginBody>(&[word("password", "The user's password.").required()]);

#[derive(Deserialize)]
struct LoginBody {
    #[serde(default, deserialize_with = "present")]
    password: Option<String>,
}
