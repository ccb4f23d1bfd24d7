//! `users/:user/password`: another password.

use conclave_mount::fields::{Object, present};
use conclave_mount::{BodyFields, EngineError, Request, Response, Storage, Workers, word};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::record::UserRecord;
use super::{hash, name};

/// Changes the password, given in clear or as a hash that was made elsewhere.
pub(super) async fn write(
    request: &Request,
    name: &str,
    workers: &dyn Workers,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let name = name::check(name)?;
    let Object(body): Object<PasswordBody> = request.parse()?;
    let mut record = UserRecord::load_known(storage, &name)?;
    record.password_hash = match body.hash(workers, request).await? {
        Some(hash) => hash,
        None => return Err(EngineError::invalid("missing password")),
    };
    record.store(storage, &name)?;
    Ok(Response::empty())
}

pub(super) const PASSWORD: BodyFields = BodyFields::of::<PasswordBody>(&[
    word("password", "The password."),
    word("password_hash", "A hash of it that was made elsewhere, in its place."),
]);

/// A password, in one of two forms.
#[derive(Deserialize)]
pub(super) struct PasswordBody {
    #[serde(default, deserialize_with = "present")]
    password: Option<String>,
    #[serde(default, deserialize_with = "present")]
    password_hash: Option<String>,
}

impl PasswordBody {
    /// The hash to store; none where neither form is there.
    pub(super) async fn hash(
        self,
        workers: &dyn Workers,
        request: &Request,
    ) -> Result<Option<String>, EngineError> {
        match (self.password.map(Zeroizing::new), self.password_hash) {
            (Some(_), Some(_)) => Err(EngineError::invalid(
                "'password' and 'password_hash' exclude each other; give one of them",
            )),
            (None, Some(hash)) => hash::import(&hash).map(Some),
            (None, None) => Ok(None),
            (password, None) => {
                let password = hash::given(password)?;
                hash::make(workers, password, request.unique).await.map(Some)
            }
        }
    }
}
