//! `sys/generate-root/{attempt,update}`: holders of shares make a root token together.
//!
//! The token is answered XORed with a one-time pad that only whoever began the attempt has, so the
//! holder of the last share does not learn it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use conclave_mount::fields::Object;
use conclave_mount::{BodyFields, word};
use conclave_ports::Ports;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key_shares::{
    PgpKeys, charge, given, may_know_nonce, nonce_to_cancel, secret_json, share_and_nonce,
};
use crate::key_ceremonies::{RootProgress, RootStep};
use crate::routes::Anybody;
use crate::update::update;
use crate::{Error, Response, token};

/// How far the attempt is.
pub(super) fn look<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    let answer = || {
        let mut progress = ask.core.operator.root_step(RootStep::Look)?;
        let started = !progress.nonce.is_empty();
        if !may_know_nonce(&ask) {
            progress.nonce.clear();
        }
        secret_json(&View { started, ..View::of(&progress) })
    };
    futures::future::ready(answer()).boxed()
}

/// Begins an attempt.
pub(super) fn start<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    let answer = || {
        let Object(StartBody { otp, pgp_key }) = ask.request.parse()?;
        pgp_key.refuse()?;
        charge(&ask)?;
        let given = otp.filter(|otp| !otp.is_empty()).map(Zeroizing::new);
        let made = given.is_none();
        let otp = given.unwrap_or_else(|| make_pad(&ask.core.ports));
        if otp.len() != TOKEN_BYTES {
            return Err(Error::invalid(format!(
                "OTP string is wrong length; give {} characters, or none to have one made",
                TOKEN_BYTES
            )));
        }
        let progress = ask.core.operator.root_step(RootStep::Start { otp: otp.clone() })?;
        let shown = if made { otp.as_str() } else { "" };
        secret_json(&View { otp: shown, ..View::of(&progress) })
    };
    futures::future::ready(answer()).boxed()
}

/// Ends the attempt.
pub(super) fn cancel<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    let answer = || {
        let nonce = nonce_to_cancel(&ask)?;
        charge(&ask)?;
        ask.core.operator.root_step(RootStep::Cancel { nonce })?;
        Ok(Response::empty())
    };
    futures::future::ready(answer()).boxed()
}

/// Takes a share; the last one makes the token.
pub(super) fn give<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    async move {
        let (share, nonce) = share_and_nonce(&ask)?;
        let operator = &ask.core.operator;
        let step = operator.root_step(RootStep::Give { nonce: nonce.clone(), share });
        let progress = given(&ask, step)?;
        let Some(otp) = &progress.granted else { return secret_json(&View::of(&progress)) };
        let (barrier, ports) = (&ask.core.barrier, &ask.core.ports);
        let made =
            update(barrier, |tx, now_ms| token::create_root(barrier, ports, tx, now_ms)).await?;
        operator.root_step(RootStep::End { nonce })?;
        let encoded = encode(&made, otp);
        tracing::warn!("holders of shares have made a root token");
        secret_json(&View {
            complete: true,
            encoded_token: &encoded,
            encoded_root_token: &encoded,
            ..View::of(&progress)
        })
    }
    .boxed()
}

/// As many characters of 62 as a token has: its random part, and some of another's.
fn make_pad(ports: &Ports) -> Zeroizing<String> {
    let (one, other) = (token::make_text(ports), token::make_text(ports));
    let mut pad = Zeroizing::new(String::with_capacity(TOKEN_BYTES));
    pad.push_str(&one[PREFIX_BYTES..]);
    pad.push_str(&other[PREFIX_BYTES..2 * PREFIX_BYTES]);
    pad
}

/// `base64(token XOR pad)`, without padding characters: as clients decode it.
fn encode(token: &str, pad: &str) -> Zeroizing<String> {
    let hidden = token.bytes().zip(pad.bytes()).map(|(token, pad)| token ^ pad);
    let hidden = Zeroizing::new(hidden.collect::<Vec<u8>>());
    Zeroizing::new(STANDARD_NO_PAD.encode(&*hidden))
}

pub(super) const START_ROOT: BodyFields = BodyFields::of::<StartBody>(&[
    word("otp", "What the new token is hidden with; made by the cluster where nothing is given."),
    word("pgp_key", "Not supported: must be empty."),
]);

#[derive(Deserialize)]
struct StartBody {
    #[serde(default)]
    otp: Option<String>,
    #[serde(default)]
    pgp_key: PgpKeys,
}

/// Every field is always there: clients read them without asking.
#[derive(Serialize)]
struct View<'a> {
    nonce: &'a str,
    started: bool,
    progress: u8,
    required: u8,
    complete: bool,
    encoded_token: &'a str,
    encoded_root_token: &'a str,
    pgp_fingerprint: &'a str,
    otp: &'a str,
    otp_length: usize,
}

impl<'a> View<'a> {
    fn of(progress: &'a RootProgress) -> Self {
        Self {
            nonce: &progress.nonce,
            started: !progress.nonce.is_empty(),
            progress: progress.given,
            required: progress.required,
            complete: false,
            encoded_token: "",
            encoded_root_token: "",
            pgp_fingerprint: "",
            otp: "",
            otp_length: TOKEN_BYTES,
        }
    }
}

/// Of `hvs.`.
const PREFIX_BYTES: usize = 4;
/// Of a token's text.
const TOKEN_BYTES: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: `h ^ a`, `v ^ b`, `s ^ c`, `. ^ d`, in base64.
    #[test]
    fn a_token_is_hidden_as_clients_expect() {
        assert_eq!(encode("hvs.", "abcd").as_str(), "CRQQSg");
        let hidden = STANDARD_NO_PAD.decode(&*encode("hvs.", "abcd")).unwrap();
        assert_eq!(encode(&String::from_utf8(hidden).unwrap(), "abcd").as_str(), "aHZzLg");
    }
}
