//! `sys/tools/…` and `sys/decode-token`: random bytes, digests, and a root token from its pad.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use conclave_mount::fields::{Object, Whole, present};
use conclave_mount::{BodyFields, word};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use sha2::Digest;
use zeroize::Zeroizing;

use super::key_shares::secret_json;
use crate::routes::{Anybody, Ask};
use crate::{Error, Response};

/// Random bytes in one answer.
const RANDOM_BYTES_MAX: u64 = 128 << 10;

/// Random bytes where nobody says how many.
const RANDOM_BYTES: u64 = 32;

/// An encoded token and its pad.
const ENCODED_BYTES_MAX: usize = 1024;

/// Where random bytes can be asked to come from; all of them come from the operating system here.
const SOURCES: [&str; 3] = ["platform", "seal", "all"];

/// How bytes are written as text.
#[derive(Clone, Copy)]
enum Format {
    Hex,
    Base64,
}

/// Random bytes: of a source, as many as are asked for in path or body.
pub(super) fn random(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body) = ask.request.parse::<Object<RandomBody>>()?;
    let asked = body.bytes.map_or(RANDOM_BYTES, |Whole(bytes)| bytes);
    let segments: Vec<_> = ask.request.path.split('/').skip(3).collect();
    let (source, bytes) = match segments[..] {
        [source, bytes] => (source, count(bytes)?),
        [source] if SOURCES.contains(&source) => (source, asked),
        [bytes] => (SOURCES[0], count(bytes)?),
        _ => (body.source.as_deref().unwrap_or(SOURCES[0]), asked),
    };
    if bytes < 1 {
        return Err(Error::invalid("\"bytes\" cannot be less than 1"));
    }
    if bytes > RANDOM_BYTES_MAX {
        return Err(Error::invalid(format!("\"bytes\" should be less than {RANDOM_BYTES_MAX}")));
    }
    if !SOURCES.contains(&source) {
        return Err(Error::invalid(format!("unsupported source {source:?}")));
    }
    let format = Format::parse(body.format.as_deref(), Format::Base64)?;
    let bytes = usize::try_from(bytes).expect("the most is small");
    let mut random = Zeroizing::new(vec![0; bytes]);
    ask.core.ports.rng.fill(&mut random);
    let mut response = secret_json(&json!({"random_bytes": format.write(&random)}))?;
    if source != SOURCES[0] {
        let warning = "no seal/entropy augmentation available, using platform entropy source";
        response.warnings.push(warning.into());
    }
    Ok(response)
}

/// The digest of what stands in the body, by the algorithm in path or body.
pub(super) fn hash(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body) = ask.request.parse::<Object<HashBody>>()?;
    let input =
        body.input.ok_or_else(|| Error::invalid("'input' is missing; send it in base64"))?;
    let input = STANDARD
        .decode(input)
        .map_err(|error| Error::invalid(format!("unable to decode input as base64: {error}")))?;
    let format = Format::parse(body.format.as_deref(), Format::Hex)?;
    let in_path = ask.request.path.split('/').nth(3).map(str::to_owned);
    let algorithm = in_path.or(body.algorithm).unwrap_or_else(|| "sha2-256".into());
    let sum = sum(&algorithm, &input)
        .ok_or_else(|| Error::invalid(format!("unsupported algorithm {algorithm}")))?;
    Response::json(&json!({"sum": format.write(&sum)}))
}

/// The root token that holders of shares made, for whoever has its pad.
pub(super) fn decode_token<'a>(ask: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    let answer = || {
        let Object(DecodeBody { encoded_token, otp }) = ask.request.parse()?;
        if encoded_token.len() > ENCODED_BYTES_MAX || otp.len() > ENCODED_BYTES_MAX {
            return Err(Error::invalid("'encoded_token' and 'otp' are those of one token"));
        }
        let hidden = STANDARD_NO_PAD.decode(encoded_token.trim_end_matches('='));
        let hidden = Zeroizing::new(
            hidden.map_err(|_| Error::invalid("error decoding base64'd token; send it whole"))?,
        );
        if hidden.is_empty() || hidden.len() != otp.len() {
            return Err(Error::invalid("'otp' is not as long as the token; send the token's own"));
        }
        let token = hidden.iter().zip(otp.as_bytes()).map(|(hidden, pad)| hidden ^ pad);
        let token = String::from_utf8(token.collect())
            .map_err(|_| Error::invalid("'otp' is not the pad of this token"))?;
        secret_json(&json!({"token": token}))
    };
    futures::future::ready(answer()).boxed()
}

impl Format {
    fn parse(name: Option<&str>, otherwise: Self) -> Result<Self, Error> {
        match name {
            None | Some("") => Ok(otherwise),
            Some("hex") => Ok(Self::Hex),
            Some("base64") => Ok(Self::Base64),
            Some(other) => Err(Error::invalid(format!(
                "unsupported encoding format {other:?}; must be \"hex\" or \"base64\""
            ))),
        }
    }

    fn write(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }
}

fn count(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::invalid(format!("error parsing url-set byte count {text:?}")))
}

fn sum(algorithm: &str, input: &[u8]) -> Option<Vec<u8>> {
    fn of<D: Digest>(input: &[u8]) -> Vec<u8> {
        D::digest(input).to_vec()
    }
    let of = match algorithm {
        "sha2-224" => of::<sha2::Sha224>,
        "sha2-256" => of::<sha2::Sha256>,
        "sha2-384" => of::<sha2::Sha384>,
        "sha2-512" => of::<sha2::Sha512>,
        "sha3-224" => of::<sha3::Sha3_224>,
        "sha3-256" => of::<sha3::Sha3_256>,
        "sha3-384" => of::<sha3::Sha3_384>,
        "sha3-512" => of::<sha3::Sha3_512>,
        _ => return None,
    };
    Some(of(input))
}

pub(super) const RANDOM: BodyFields = BodyFields::of::<RandomBody>(&[
    word("bytes", "How many; 32 where nothing is said."),
    word("format", "`base64` or `hex`."),
    word("source", "`platform`, `seal` or `all`: the operating system's in any case."),
]);

#[derive(Deserialize)]
struct RandomBody {
    #[serde(default, deserialize_with = "present")]
    bytes: Option<Whole>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    source: Option<String>,
}

pub(super) const HASH: BodyFields = BodyFields::of::<HashBody>(&[
    word("input", "What is to be hashed, in base64.").required(),
    word("algorithm", "`sha2-256` and its like, or `sha3-256`; `sha2-256` where nothing is said."),
    word("format", "`hex` or `base64`."),
]);

#[derive(Deserialize)]
struct HashBody {
    #[serde(default)]
    input: Option<String>,
    #[serde(default)]
    algorithm: Option<String>,
    #[serde(default)]
    format: Option<String>,
}

pub(super) const DECODE: BodyFields = BodyFields::of::<DecodeBody>(&[
    word("encoded_token", "As the last holder of a share was answered.").required(),
    word("otp", "What the token was hidden with.").required(),
]);

#[derive(Deserialize)]
struct DecodeBody {
    #[serde(default)]
    encoded_token: String,
    #[serde(default)]
    otp: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use crate::testing::{Bench, code};

    #[test]
    fn random_bytes_come_as_they_are_asked_for() {
        let bench = Bench::new();
        let random = |path: &str, body| {
            let answer = bench.write(&format!("sys/tools/random{path}"), &body).unwrap();
            answer["random_bytes"].as_str().unwrap().to_owned()
        };
        assert_eq!(STANDARD.decode(random("", json!({}))).unwrap().len(), 32);
        assert_eq!(
            hex::decode(random("", json!({"format": "hex", "bytes": "7"}))).unwrap().len(),
            7
        );
        assert_eq!(random("/16", json!({"format": "hex"})).len(), 32);
        assert_eq!(random("/platform", json!({"format": "hex", "bytes": 5})).len(), 10);
        assert_eq!(random("/all/3", json!({"format": "hex"})).len(), 6);
        assert_ne!(random("", json!({})), random("", json!({})));
        for (path, body) in [
            ("/0", json!({})),
            ("/131073", json!({})),
            ("/x", json!({})),
            ("/-1", json!({})),
            ("/other/3", json!({})),
            ("", json!({"source": "other"})),
            ("", json!({"format": "binary"})),
            ("", json!({"bytes": 0})),
        ] {
            let answer = bench.write(&format!("sys/tools/random{path}"), &body);
            assert_eq!(code(answer), ErrorCode::InvalidRequest, "{path} {body}");
        }
    }

    /// The digests of `hello vault` and of nothing, by other programs (FIPS 180-4, FIPS 202).
    #[test]
    fn digests_are_those_of_the_standards() {
        let bench = Bench::new();
        let sum = |path: &str, body| bench.write(&format!("sys/tools/hash{path}"), &body).unwrap();
        let hello = json!({"input": STANDARD.encode("hello vault")});
        let expected = "55e702c93bd83f5dc1eabdc7e0c268b8a7626b2e8008a7b96023192efd40c2a4";
        assert_eq!(sum("", hello.clone())["sum"], expected);
        assert_eq!(
            sum("/sha2-224", hello.clone())["sum"],
            "e2a3ef7fdcbf9bb6b862ab2bcddc99b2decebca260ba60ae4c8d58e0"
        );
        let nothing = json!({"input": "", "algorithm": "sha3-256", "format": "base64"});
        let expected = "p//G+L8e12ZRwUdWoGHWYvWA/03kO0n6gtgKS4D4Q0o=";
        assert_eq!(sum("", nothing)["sum"], expected);
        for (algorithm, bytes) in [
            ("sha2-384", 48),
            ("sha2-512", 64),
            ("sha3-224", 28),
            ("sha3-384", 48),
            ("sha3-512", 64),
        ] {
            let sum = sum(&format!("/{algorithm}"), hello.clone());
            assert_eq!(sum["sum"].as_str().unwrap().len(), 2 * bytes, "{algorithm}");
        }
        for body in [
            json!({}),
            json!({"input": "%"}),
            json!({"input": "", "algorithm": "md5"}),
            json!({"input": "", "format": "x"}),
        ] {
            assert_eq!(code(bench.write("sys/tools/hash", &body)), ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn a_token_comes_out_of_its_pad_without_any_token_being_sent() {
        let bench = Bench::new();
        let decode = |body: serde_json::Value| {
            let bytes = body.to_string();
            let path = "sys/decode-token";
            let mut request = bench.request(crate::Operation::Write, path, bytes.as_bytes());
            request.token = None;
            bench.send(&request)
        };
        let answer = decode(json!({"encoded_token": "CRQQSg", "otp": "abcd"})).unwrap();
        assert_eq!(answer.data.as_deref(), Some(&br#"{"token":"hvs."}"#[..]));
        for body in [
            json!({}),
            json!({"encoded_token": "CRQQSg", "otp": "abc"}),
            json!({"encoded_token": "!", "otp": "a"}),
            json!({"encoded_token": "/////w", "otp": "abcd"}),
            json!({"encoded_token": "A".repeat(2000), "otp": "abcd"}),
        ] {
            assert_eq!(code(decode(body)), ErrorCode::InvalidRequest);
        }
    }
}
