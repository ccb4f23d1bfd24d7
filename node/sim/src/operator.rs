//! What `sys/` routes may ask of a simulated node: nothing, because faults do these things.

use conclave_core::key_ceremonies::{
    KeyCeremonies, RekeyProgress, RekeyStep, RootProgress, RootStep, ShareSet,
};
use conclave_core::{Error, ErrorCode, MemberList, Operator};
use futures::FutureExt;
use futures::future::BoxFuture;

/// Refuses everything.
pub(crate) struct SimOperator;

fn refused<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    std::future::ready(Err(refusal())).boxed()
}

fn refusal() -> Error {
    let text = "a simulated node is operated by its faults; ask a real one";
    Error::new(ErrorCode::UnsupportedOperation, text)
}

impl KeyCeremonies for SimOperator {
    fn are_open(&self) -> bool {
        false
    }

    fn root_step(&self, _step: RootStep) -> Result<RootProgress, Error> {
        Err(refusal())
    }

    fn rekey_step(
        &self,
        _set: ShareSet,
        _step: RekeyStep,
    ) -> BoxFuture<'_, Result<RekeyProgress, Error>> {
        refused()
    }
}

impl Operator for SimOperator {
    fn seal(&self) -> BoxFuture<'_, Result<(), Error>> {
        refused()
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        refused()
    }

    fn members(&self) -> BoxFuture<'_, Result<MemberList, Error>> {
        refused()
    }

    fn remove_member(&self, _server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        refused()
    }

    fn promote_member(&self, _server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        refused()
    }

    fn demote_member(&self, _server_id: String) -> BoxFuture<'_, Result<(), Error>> {
        refused()
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
