//! From what an auth method says of a login to a token, or to a failure that counts.

use conclave_barrier::Transaction;
use conclave_mount::{Login, TokenKind};

use crate::call::Call;
use crate::lock_out::Suspect;
use crate::mounts::MountRecord;
use crate::token::{self, Kind, NewToken};
use crate::{Core, Error, ErrorCode, Response, auth_token, errors};

/// The answer to a request that an engine has served. `name` is whom it claimed to be, where it is a
/// login.
///
/// A name that is locked out is refused after the method did all its work, in the words of a wrong
/// secret. What a login that goes through forgets is part of its entry, and what it read is a
/// condition: of many guesses at once, none is granted that the count had locked out before.
pub(crate) async fn conclude(
    core: &Core,
    answer: Result<conclave_mount::Response, Error>,
    name: Option<&str>,
    mount: &MountRecord,
    call: &Call<'_>,
    tx: &mut Transaction,
) -> Result<Response, Error> {
    let suspect = name.and_then(|name| Suspect::new(&core.barrier, mount, name));
    let locked_out = match &suspect {
        Some(suspect) => is_locked_out(core, suspect, call.now_ms, tx)?,
        None => false,
    };
    match answer {
        Ok(mut answer) => match answer.login.take() {
            None => Ok(answer.into()),
            Some(_) if locked_out => Err(errors::permission_denied()),
            Some(login) => {
                if let Some(suspect) = &suspect {
                    suspect.forget(tx, call.now_ms)?;
                }
                grant(core, *login, answer, mount, call, tx)
            }
        },
        Err(error) if name.is_some() && error.code == ErrorCode::PermissionDenied => {
            if let Some(suspect) = suspect.filter(|_| !locked_out) {
                suspect.count(&core.barrier).await?;
            }
            Err(errors::permission_denied())
        }
        Err(error) => Err(error),
    }
}

/// Looks twice: in the request's own view, which makes it a condition, and in the newest, because
/// a login to a token without a row may commit nothing whose conditions anybody checks, and checking
/// the secret took a while.
fn is_locked_out(
    core: &Core,
    suspect: &Suspect,
    now_ms: u64,
    tx: &mut Transaction,
) -> Result<bool, Error> {
    let mut newest = core.barrier.transaction(core.barrier.ledger().view());
    Ok(suspect.is_locked_out(tx, now_ms)? || suspect.is_locked_out(&mut newest, now_ms)?)
}

/// Makes the token that a login yields.
fn grant(
    core: &Core,
    login: Login,
    answer: conclave_mount::Response,
    mount: &MountRecord,
    call: &Call<'_>,
    tx: &mut Transaction,
) -> Result<Response, Error> {
    let new = NewToken {
        display_name: display_name(mount, &login.display_name),
        policies: login.policies,
        no_default_policy: login.no_default_policy,
        path: call.request.path.clone(),
        metadata: login.metadata,
        ttl_ms: login.ttl_ms,
        max_ttl_ms: login.max_ttl_ms,
        explicit_max_ttl_ms: login.explicit_max_ttl_ms,
        period_ms: login.period_ms,
        num_uses: login.num_uses,
        bound_cidrs: login.bound_cidrs,
        renewable: true,
        kind: kind(login.kind, &mount.token_type),
        ..NewToken::default()
    };
    if new.policies.iter().any(|policy| policy == token::ROOT_POLICY) {
        return Err(Error::invalid("auth methods cannot create root tokens"));
    }
    let made = token::make(&core.barrier, &core.ports, tx, new, call.now_ms)?;
    let mut warnings = answer.warnings;
    warnings.extend(made.warnings);
    auth_token::granted(&made.text, &made.record, warnings, call.now_ms)
}

/// The user's own, unless the mount leaves no choice or the user has none.
fn kind(user: TokenKind, mount: &str) -> Kind {
    match (mount, user) {
        ("batch", _) | ("default-batch", TokenKind::Default) | (_, TokenKind::Batch)
            if mount != "service" =>
        {
            Kind::Batch
        }
        _ => Kind::Service,
    }
}

/// The mount's name before the user's: `userpass-anna`.
fn display_name(mount: &MountRecord, name: &str) -> String {
    let mount = mount.path.trim_start_matches("auth/").trim_end_matches('/').replace('/', "-");
    if name.is_empty() { mount } else { format!("{mount}-{name}") }
}
