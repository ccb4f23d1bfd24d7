//! `sys/rekey/{init,update,verify}` and the same below `sys/rekey-recovery-key`: holders of shares
//! replace their shares by new ones.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use conclave_mount::fields::{Flag, Object, Whole, present};
use conclave_mount::{BodyFields, word};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key_shares::{
    PgpKeys, charge, given, may_know_nonce, nonce_to_cancel, secret_json, share_and_nonce,
};
use crate::key_ceremonies::{RekeyPlan, RekeyProgress, RekeyStep, Share, ShareSet};
use crate::routes::{Anybody, Ask};
use crate::{Error, Response};

/// How far the attempt is.
pub(super) fn look<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let progress = step(&ask, RekeyStep::Look).await?;
        StatusView::answer(&ask, &progress)
    }
    .boxed()
}

/// Begins an attempt.
pub(super) fn start<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let Object(body) = ask.request.parse::<Object<StartBody>>()?;
        let plan = body.plan()?;
        charge(&ask)?;
        let progress = step(&ask, RekeyStep::Start(plan)).await?;
        StatusView::answer(&ask, &progress)
    }
    .boxed()
}

/// Ends the attempt.
pub(super) fn cancel<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let nonce = nonce_to_cancel(&ask)?;
        charge(&ask)?;
        step(&ask, RekeyStep::Cancel { nonce }).await?;
        Ok(Response::empty())
    }
    .boxed()
}

/// Takes a share of the set in force; the last one makes the new shares.
pub(super) fn give<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let (share, nonce) = share_and_nonce(&ask)?;
        let taken = step(&ask, RekeyStep::Give { nonce: nonce.clone(), share }).await;
        let progress = given(&ask, taken)?;
        if progress.new_shares.is_empty() {
            return StatusView::answer(&ask, &progress);
        }
        tracing::warn!(replaced = progress.replaced, "holders of shares have made new ones");
        KeysView::answer(&nonce, &progress)
    }
    .boxed()
}

/// How far the verification is.
pub(super) fn look_at_verification<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let progress = step(&ask, RekeyStep::Look).await?;
        if progress.verification_nonce.is_empty() {
            return Err(Error::invalid(
                "no rekey verification in progress; give the shares in force first",
            ));
        }
        VerificationView::answer(&ask, &progress)
    }
    .boxed()
}

/// Begins the verification over, under another nonce.
pub(super) fn restart_verification<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        charge(&ask)?;
        let progress = step(&ask, RekeyStep::RestartVerification).await?;
        VerificationView::answer(&ask, &progress)
    }
    .boxed()
}

/// Takes one of the new shares; the last one puts them in force.
pub(super) fn verify<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let (share, nonce) = share_and_nonce(&ask)?;
        let taken = step(&ask, RekeyStep::Verify { nonce: nonce.clone(), share }).await;
        let progress = given(&ask, taken)?;
        if !progress.replaced {
            return VerificationView::answer(&ask, &progress);
        }
        tracing::warn!("the new shares came back and are in force");
        secret_json(&Verified { nonce: &nonce, complete: true })
    }
    .boxed()
}

/// Shares are handed out to people, never kept.
pub(super) fn read_backup(_: &mut Ask<'_>) -> Result<Response, Error> {
    Err(Error::invalid("no backed-up keys found"))
}

/// There is nothing to delete, which is what was asked for.
pub(super) fn delete_backup(_: &mut Ask<'_>) -> Result<Response, Error> {
    Ok(Response::empty())
}

async fn step(ask: &Anybody<'_>, step: RekeyStep) -> Result<RekeyProgress, Error> {
    const RECOVERY: [&str; 2] = ["sys/rekey-recovery-key/", "sys/rotate/recovery/"];
    let path = &ask.request.path;
    let recovery = RECOVERY.iter().any(|prefix| path.starts_with(prefix));
    let set = if recovery { ShareSet::Recovery } else { ShareSet::Unseal };
    ask.core.operator.rekey_step(set, step).await
}

pub(super) const START_REKEY: BodyFields = BodyFields::of::<StartBody>(&[
    word("secret_shares", "How many shares to make."),
    word("secret_threshold", "How many of them are enough."),
    word("require_verification", "Whether the new shares must come back before they take force."),
    word("pgp_keys", "Not supported: must be empty."),
]);

/// `stored_shares` and `backup` say nothing where shares are never kept.
#[derive(Deserialize)]
struct StartBody {
    #[serde(default, deserialize_with = "present")]
    secret_shares: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    secret_threshold: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    require_verification: Option<Flag>,
    #[serde(default)]
    pgp_keys: PgpKeys,
}

impl StartBody {
    fn plan(&self) -> Result<RekeyPlan, Error> {
        self.pgp_keys.refuse()?;
        let number = |name: &str, field: Option<Whole>| {
            let number = field.map_or(0, |Whole(number)| number);
            u8::try_from(number).map_err(|_| Error::invalid(format!("'{name}' is at most 255")))
        };
        Ok(RekeyPlan {
            shares: number("secret_shares", self.secret_shares)?,
            threshold: number("secret_threshold", self.secret_threshold)?,
            verify: self.require_verification.is_some_and(|Flag(verify)| verify),
        })
    }
}

#[derive(Serialize)]
struct StatusView<'a> {
    nonce: &'a str,
    started: bool,
    t: u8,
    n: u8,
    progress: u8,
    required: u8,
    pgp_fingerprints: Option<()>,
    backup: bool,
    verification_required: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    verification_nonce: &'a str,
}

impl StatusView<'_> {
    fn answer(ask: &Anybody<'_>, progress: &RekeyProgress) -> Result<Response, Error> {
        let known = may_know_nonce(ask) || !ask.is_look();
        let shown = |nonce| if known { nonce } else { "" };
        secret_json(&StatusView {
            nonce: shown(&progress.nonce),
            started: !progress.nonce.is_empty(),
            t: progress.plan.threshold,
            n: progress.plan.shares,
            progress: progress.given,
            required: progress.required,
            pgp_fingerprints: None,
            backup: false,
            verification_required: progress.plan.verify,
            verification_nonce: shown(&progress.verification_nonce),
        })
    }
}

#[derive(Serialize)]
struct KeysView<'a> {
    nonce: &'a str,
    complete: bool,
    keys: Vec<&'a str>,
    keys_base64: Vec<&'a str>,
    pgp_fingerprints: Option<()>,
    backup: bool,
    verification_required: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    verification_nonce: &'a str,
}

impl KeysView<'_> {
    fn answer(nonce: &str, progress: &RekeyProgress) -> Result<Response, Error> {
        let keys = written(progress, |share| hex::encode(share.as_slice()));
        let keys_base64 = written(progress, |share| BASE64.encode(share.as_slice()));
        secret_json(&KeysView {
            nonce,
            complete: true,
            keys: keys.iter().map(|key| key.as_str()).collect(),
            keys_base64: keys_base64.iter().map(|key| key.as_str()).collect(),
            pgp_fingerprints: None,
            backup: false,
            verification_required: progress.plan.verify,
            verification_nonce: &progress.verification_nonce,
        })
    }
}

/// The new shares in one spelling.
fn written(progress: &RekeyProgress, write: fn(&Share) -> String) -> Vec<Zeroizing<String>> {
    progress.new_shares.iter().map(|share| Zeroizing::new(write(share))).collect()
}

#[derive(Serialize)]
struct VerificationView<'a> {
    nonce: &'a str,
    started: bool,
    t: u8,
    n: u8,
    progress: u8,
}

impl VerificationView<'_> {
    fn answer(ask: &Anybody<'_>, progress: &RekeyProgress) -> Result<Response, Error> {
        let known = may_know_nonce(ask) || !ask.is_look();
        secret_json(&VerificationView {
            nonce: if known { &progress.verification_nonce } else { "" },
            started: !progress.verification_nonce.is_empty(),
            t: progress.plan.threshold,
            n: progress.plan.shares,
            progress: progress.verified,
        })
    }
}

#[derive(Serialize)]
struct Verified<'a> {
    nonce: &'a str,
    complete: bool,
}
