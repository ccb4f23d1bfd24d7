//! Users with passwords.
//!
//! ```text
//! users/<name>    UserRecord: the hash of the password, and what a login yields
//! hash-cost       CostRecord: what the most expensive hash here costs, and so every login
//! ```
//!
//! A name is what identifies somebody to policies and second factors, so it has one spelling: lower
//! case, without anything that a reader could overlook. Who may not log in learns no more than
//! that: a user who does not exist costs the same time and the same words as a wrong password.

mod hash;
mod login;
mod name;
mod password;
mod policies;
mod record;
mod users;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use conclave_mount::{
    Access, Class, Engine, EngineError, ErrorCode, MountOptions, Operation, Request, Response,
    Route, Storage, TokenFieldsBody, Workers,
};
use futures::future::BoxFuture;

use record::UserRecord;

/// The method.
pub struct Userpass {
    workers: Arc<dyn Workers>,
}

impl Userpass {
    /// The method; `workers` hash the passwords.
    pub fn new(workers: Arc<dyn Workers>) -> Self {
        Self { workers }
    }

    async fn serve(
        &self,
        request: &Request,
        storage: &mut dyn Storage,
    ) -> Result<Response, EngineError> {
        use Operation::{Delete, List, Read, Write};
        let workers = self.workers.as_ref();
        let parts: Vec<&str> = request.path.split('/').collect();
        match (parts.as_slice(), request.operation) {
            (["login", name], Write) => login::log_in(request, name, workers, storage).await,
            (["users"] | ["users", ""], List) => users::list(request, storage),
            (["users", name], Read) => users::read(name, storage),
            (["users", name], Write) => users::write(request, name, workers, storage).await,
            (["users", name], Delete) => users::delete(name, storage),
            (["users", name, "password"], Write) => {
                password::write(request, name, workers, storage).await
            }
            (["users", name, "policies"], Write) => policies::write(request, name, storage),
            (["login" | "users", _] | ["users"] | ["users", _, "password" | "policies"], _) => {
                Err(EngineError::new(ErrorCode::UnsupportedOperation, "unsupported operation"))
            }
            _ => Err(EngineError::new(
                ErrorCode::NotFound,
                "this auth method has no such path; its help lists those it has",
            )),
        }
    }
}

/// Workers have nothing to show.
impl fmt::Debug for Userpass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userpass").finish_non_exhaustive()
    }
}

impl Engine for Userpass {
    fn kind(&self) -> &'static str {
        "userpass"
    }

    fn class(&self) -> Class {
        Class::Auth
    }

    fn routes(&self, _: &MountOptions) -> &'static [Route] {
        ROUTES
    }

    fn access(&self, _: &MountOptions, operation: Operation, _: &str) -> Access {
        match operation {
            Operation::Read | Operation::List | Operation::Scan => Access::Read,
            Operation::Write | Operation::Delete | Operation::Patch => Access::Write,
        }
    }

    fn exists(&self, request: &Request, storage: &mut dyn Storage) -> Result<bool, EngineError> {
        match request.path.strip_prefix("users/") {
            Some(name) if !name.contains('/') => match name::check(name) {
                Ok(name) => Ok(UserRecord::load(storage, &name)?.is_some()),
                Err(_) => Ok(false),
            },
            _ => Ok(true),
        }
    }

    fn login_name<'a>(&self, request: &'a Request) -> Option<Cow<'a, str>> {
        let name = request.path.strip_prefix("login/").filter(|name| !name.contains('/'))?;
        (request.operation == Operation::Write).then_some(Cow::Borrowed(name))
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
        storage: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<Response, EngineError>> {
        Box::pin(self.serve(request, storage))
    }
}

const ROUTES: &[Route] = {
    use Operation::{Delete, List, Read, Write};
    &[
        Route::new("login/:user", &[Write], "Logs a user in by password.")
            .public()
            .takes(&[login::LOGIN]),
        Route::new("users/", &[List], "Lists the users."),
        Route::new(
            "users/:user",
            &[Read, Write, Delete],
            "Creates, changes, reads and deletes a user; the password is never shown.",
        )
        .creates()
        .takes(&[TokenFieldsBody::BODY, users::OLD_NAMES, password::PASSWORD]),
        Route::new("users/:user/password", &[Write], "Changes a user's password.")
            .takes(&[password::PASSWORD]),
        Route::new("users/:user/policies", &[Write], "Changes the policies of a user's tokens.")
            .takes(&[policies::POLICIES]),
    ]
};
