//! `sys/policies/password`: what generated passwords look like.

use conclave_mount::fields::{Object, present};
use conclave_mount::{BodyFields, word};
use serde::Deserialize;
use serde_json::json;

use super::policies::decode;
use crate::password_policies::{self, TEXT_BYTES_MAX};
use crate::password_policy::PasswordPolicy;
use crate::policies::NAME_BYTES_MAX;
use crate::routes::Ask;
use crate::{Error, Response};

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let keys = password_policies::names(ask.tx)?;
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    Response::json(&json!({"keys": keys}))
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    let text = password_policies::text(ask.tx, &name)?.ok_or_else(Error::not_found)?;
    Response::json(&json!({"policy": text}))
}

pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(Body { policy }) = ask.request.parse()?;
    let text = policy.filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| {
        Error::invalid("'policy' parameter not supplied or empty; send the policy's text in it")
    })?;
    if text.len() > TEXT_BYTES_MAX || ask.name().len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a password policy has at most {TEXT_BYTES_MAX} bytes, and its name {NAME_BYTES_MAX}; \
             shorten it"
        )));
    }
    let text = decode(text);
    let policy = PasswordPolicy::parse(&text).map_err(|error| Error::invalid(error.to_string()))?;
    let rng = ask.core.ports.rng.as_ref();
    policy.check(rng).map_err(|error| Error::invalid(error.to_string()))?;
    let name = ask.name().to_owned();
    password_policies::put(ask.tx, &name, text)?;
    Ok(Response::empty())
}

pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    password_policies::delete(ask.tx, &name)?;
    Ok(Response::empty())
}

/// A password that was never there before. It is nowhere kept.
pub(super) fn generate(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let name = ask.name().to_owned();
    let policy = password_policies::load(ask.tx, &name)?.ok_or_else(Error::not_found)?;
    let password = policy.generate(ask.core.ports.rng.as_ref())?;
    Response::json(&json!({"password": *password}))
}

pub(super) const PASSWORD_POLICY: BodyFields = BodyFields::of::<Body>(&[word(
    "policy",
    "The policy's text, HCL or JSON, plain or in base64.",
)
.required()]);

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "present")]
    policy: Option<String>,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::testing::{Bench, code};
    use crate::{ErrorCode, Operation};

    const TEXT: &str = "length = 12\nrule \"charset\" {\n  charset = \"abcdefghijkl\"\n}\n";

    #[test]
    fn a_policy_is_written_read_used_and_deleted() {
        let bench = Bench::new();
        let path = "sys/policies/password/p";
        let call = |operation, path| bench.call(operation, path, &json!({}));
        assert_eq!(code(call(Operation::List, "sys/policies/password")), ErrorCode::NotFound);
        bench.write(path, &json!({"policy": STANDARD.encode(TEXT)})).unwrap();
        assert_eq!(bench.read(path).unwrap(), json!({"policy": TEXT}));
        let names = call(Operation::List, "sys/policies/password").unwrap();
        assert_eq!(names, json!({"keys": ["p"]}));
        let made = || bench.read("sys/policies/password/p/generate").unwrap();
        let password = made()["password"].as_str().unwrap().to_owned();
        assert!(password.len() == 12 && password.chars().all(|c| ('a'..='l').contains(&c)));
        assert_ne!(made()["password"], password);
        call(Operation::Delete, path).unwrap();
        for path in [path, "sys/policies/password/p/generate"] {
            assert_eq!(code(call(Operation::Read, path)), ErrorCode::NotFound);
        }
    }

    #[test]
    fn a_bad_policy_is_not_stored() {
        let bench = Bench::new();
        let long = "#".repeat(TEXT_BYTES_MAX + 1);
        for policy in
            [json!(""), json!("length = 8"), json!("{"), json!(5), json!(null), json!(long)]
        {
            let refused = bench.write("sys/policies/password/p", &json!({"policy": policy}));
            assert_eq!(code(refused), ErrorCode::InvalidRequest);
        }
        let read = bench.call(Operation::Read, "sys/policies/password/p", &json!({}));
        assert_eq!(code(read), ErrorCode::NotFound);
    }
}
