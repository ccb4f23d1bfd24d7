//! Sweeping what ended tokens have left.

use crate::routes::Ask;
use crate::{Error, Response, token};

/// Asks for a sweep. The leader does it after the answer, step by step.
pub(super) fn tidy(ask: &mut Ask<'_>) -> Result<Response, Error> {
    token::ask_for_sweep(ask.tx)?;
    let warnings = vec![
        "Tidy operation successfully started. Any information from the operation will be printed \
         to Vault's server logs."
            .to_owned(),
    ];
    Ok(Response { warnings, ..Response::empty() })
}
