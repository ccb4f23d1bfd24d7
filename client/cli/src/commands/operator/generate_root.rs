//! `conclave operator generate-root`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use clap::Args;
use conclave_sdk::Operation;
use serde_json::{Value, json};

use super::share::Given;
use super::{Context, Failure};
use crate::answer::Answer;
use crate::commands::Api;
use crate::output::{self, Format, Output};
use crate::terminal;

/// Make a root token with unseal keys.
#[derive(Args)]
pub(crate) struct GenerateRoot {
    /// Begin; prints a one-time password, without which the token cannot be read
    #[arg(long, conflicts_with_all = ["cancel", "status", "generate_otp", "decode"])]
    init: bool,
    /// Give up
    #[arg(long, conflicts_with_all = ["status", "generate_otp", "decode"])]
    cancel: bool,
    /// Show how far it is
    #[arg(long, conflicts_with_all = ["generate_otp", "decode"])]
    status: bool,
    /// Make a one-time password for -init
    #[arg(long, conflicts_with = "decode")]
    generate_otp: bool,
    /// Turn what the last share was answered with into the token, without any cluster
    #[arg(long, value_name = "TEXT")]
    decode: Option<String>,
    /// The one-time password, for -init and -decode; - reads it from standard input
    #[arg(long, value_name = "OTP")]
    otp: Option<String>,
    /// The attempt that the key is for, as -init showed it
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// An unseal key. Better leave it out, for other users see a command line: it is then asked
    /// for; - reads it from standard input
    #[arg(value_name = "KEY")]
    key: Option<String>,
}

impl std::fmt::Debug for GenerateRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerateRoot").finish_non_exhaustive()
    }
}

impl GenerateRoot {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        if self.generate_otp {
            return Ok(show_word(format, "otp", &make_otp()?));
        }
        if let Some(encoded) = &self.decode {
            let token = decode(&typed(encoded)?, &self.otp()?)?;
            return Ok(show_word(format, "token", &token));
        }
        let api = context.api().await?;
        if self.init {
            let body = match &self.otp {
                Some(_) => json!({ "otp": self.otp()? }),
                None => json!({}),
            };
            let doing = "initializing root generation";
            return Ok(render(&api.write(doing, ATTEMPT, &body).await?, format));
        }
        let now = status(&api).await?;
        if self.status {
            return Ok(render(&now, format));
        }
        let nonce_now = now.data.get("nonce").map(output::plain).unwrap_or_default();
        if self.cancel {
            cancel(&api, ATTEMPT, "canceling root token generation", &nonce_now).await?;
            let done = "Success! Root token generation canceled (if it was started)";
            return Ok(Output::done(format, done));
        }
        let program = context.style.program();
        if now.data.get("started").is_none_or(|started| *started != true) {
            return Err(Failure::local(format!(
                "No root generation is in progress. Start a root generation by running \
                 \"{program} operator generate-root -init\"."
            )));
        }
        let given = Given { key: self.key.as_deref(), nonce: self.nonce.as_deref() };
        let (key, nonce) = given.read(&nonce_now)?;
        let body = json!({ "key": key, "nonce": nonce });
        Ok(render(&api.write("posting unseal key", UPDATE, &body).await?, format))
    }

    fn otp(&self) -> Result<String, Failure> {
        match &self.otp {
            Some(otp) => typed(otp),
            None => Err(Failure::local("Missing otp: use -otp to supply it".into())),
        }
    }
}

/// A word of the command line, or a line of standard input for `-`.
fn typed(word: &str) -> Result<String, Failure> {
    if word == "-" { terminal::read_secret("") } else { Ok(word.trim().to_owned()) }
}

async fn status(api: &Api) -> Result<Answer, Failure> {
    let doing = "getting root generation status";
    api.call(doing, Operation::Read, ATTEMPT, &BTreeMap::new(), None).await
}

/// Gives an attempt up; the nonce says which one.
pub(super) async fn cancel(api: &Api, path: &str, doing: &str, nonce: &str) -> Result<(), Failure> {
    let body = (!nonce.is_empty()).then(|| json!({ "nonce": nonce }));
    api.call(doing, Operation::Delete, path, &BTreeMap::new(), body.as_ref()).await.map(drop)
}

/// Characters that are drawn alike: 62 × 4 = 248 values of a byte, the others are thrown away.
fn make_otp() -> Result<String, Failure> {
    let mut otp = String::new();
    while otp.len() < OTP_LENGTH {
        let mut bytes = [0; 64];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| Failure::local(format!("there is no randomness: {error}; try again")),
        )?;
        let letters = bytes.iter().filter(|byte| **byte < 62 * 4);
        otp.extend(letters.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    otp.truncate(OTP_LENGTH);
    Ok(otp)
}

/// `base64⁻¹(encoded) XOR otp`.
fn decode(encoded: &str, otp: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::local(format!("Error decoding root token: {why}"));
    let hidden = STANDARD_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .map_err(|_| wrong("it is not base64; copy it again"))?;
    if hidden.len() != otp.len() {
        return Err(wrong("it is not as long as the one-time password; check both"));
    }
    let token = hidden.iter().zip(otp.bytes()).map(|(hidden, pad)| hidden ^ pad).collect();
    String::from_utf8(token).map_err(|_| wrong("the one-time password is another's; check it"))
}

fn show_word(format: Format, name: &str, word: &str) -> Output {
    if format.is_table() {
        return output::single(format, &word.into());
    }
    Output::document(format, &json!({ name: word }))
}

/// How far it is; the password and the token are shown to who must have them.
fn render(answer: &Answer, format: Format) -> Output {
    if !format.is_table() {
        return Output::document(format, &answer.data);
    }
    let of = |name: &str| answer.data.get(name).unwrap_or(&Value::Null);
    let text = |name: &str| output::plain(of(name));
    let mut rows = vec![
        ("Nonce", text("nonce")),
        ("Started", text("started")),
        ("Progress", format!("{}/{}", text("progress"), text("required"))),
        ("Complete", text("complete")),
    ];
    let said = |name: &str| of(name).as_str().is_some_and(|text| !text.is_empty());
    let more = [
        ("PGP Fingerprint", "pgp_fingerprint"),
        ("Encoded Token", "encoded_token"),
        ("OTP", "otp"),
    ];
    rows.extend(
        more.iter().filter(|(_, name)| said(name)).map(|(title, name)| (*title, text(name))),
    );
    rows.push(("OTP Length", text("otp_length")));
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(title, value)| vec![title.to_owned(), value]).collect();
    let note = "A One-Time-Password has been generated for you and is shown in the OTP field.\n\
                You will need this value to decode the resulting root token, so keep it safe.\n\n";
    Output::good(output::columns(&rows)).with_notes(if said("otp") { note } else { "" })
}

const ATTEMPT: &str = "sys/generate-root/attempt";
const UPDATE: &str = "sys/generate-root/update";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// As long as a token.
const OTP_LENGTH: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_decoded_as_it_was_encoded() {
        assert_eq!(decode("CRQQSg", "abcd").ok().as_deref(), Some("hvs."));
        assert_eq!(decode("CRQQSg==", "abcd").ok().as_deref(), Some("hvs."));
        for (encoded, otp) in [("CRQQSg", "abc"), ("?", "abcd"), ("", "canary"), ("/////w", "aaaa")]
        {
            let failure = decode(encoded, otp).expect_err("no token").to_string();
            assert!(!failure.contains("canary"), "{failure}");
        }
    }

    #[test]
    fn passwords_are_as_long_as_tokens_and_differ() {
        let (one, other) = (make_otp().expect("made"), make_otp().expect("made"));
        assert_eq!((one.len(), other.len()), (OTP_LENGTH, OTP_LENGTH));
        assert!(one.bytes().all(|letter| letter.is_ascii_alphanumeric()));
        assert_ne!(one, other);
    }

    #[test]
    fn progress_is_shown_as_agreed() {
        let answer = |otp: &str, encoded: &str| {
            let data = json!({
                "nonce": "n-1", "started": true, "progress": 1, "required": 3, "complete": false,
                "encoded_token": encoded, "encoded_root_token": encoded, "pgp_fingerprint": "",
                "otp": otp, "otp_length": 28,
            });
            Answer { data, ..Answer::default() }
        };
        let begun = render(&answer("abc", ""), Format::Table);
        crate::golden::check("output/generate-root-init.txt", &(begun.notes + &begun.text));
        let ended = render(&answer("", "CRQQSg"), Format::Table);
        crate::golden::check("output/generate-root-end.txt", &(ended.notes + &ended.text));
    }
}
