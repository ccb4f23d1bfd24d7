//! Why policies allow or deny something.

use std::sync::Arc;

use conclave_mount::fields::{Object, TextList};
use conclave_mount::{BodyFields, word};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth_token;
use crate::canonical::CanonicalPath;
use crate::policy::{Acl, Capability, PageLimit, Question};
use crate::routes::Ask;
use crate::token;
use crate::{Error, ErrorCode, Operation, Response};

/// Decides a request that is not made, and names the rule that decided and those that lost.
pub(super) fn explain(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body): Object<Body> = ask.request.parse()?;
    let capability = capability(body.operation.as_deref().unwrap_or("read"))?;
    let operation = operation_of(capability);
    let path = CanonicalPath::new(body.path.as_deref().unwrap_or_default(), operation)?;
    let acl = acl(ask, &body)?;
    let target = ask.core.mounts.at(ask.tx)?.route(&path, operation, &ask.core.engines);
    let question = Question {
        needs_sudo: target.is_ok_and(|target| target.needs_sudo(operation)),
        parameters: body.parameters.as_ref(),
        wrap_ttl_ms: None,
        limit: PageLimit::of(body.limit.as_ref()),
        ..Question::new(path.as_str(), capability)
    };
    Response::json(&acl.explain(&question))
}

/// Of the token, the accessor, or the policies in the body.
fn acl(ask: &mut Ask<'_>, body: &Body) -> Result<Arc<Acl>, Error> {
    let names = match (&body.token, &body.accessor, &body.policies) {
        (Some(text), None, None) => {
            let found = token::find(&ask.core.barrier, ask.tx, text)?;
            let (_, record) = found.ok_or_else(|| {
                Error::new(ErrorCode::InvalidRequest, "there is no such token; name another")
            })?;
            record.policies
        }
        (None, Some(accessor), None) => auth_token::find_accessor(ask, accessor)?.1.policies,
        (None, None, Some(TextList(names))) => names.clone(),
        _ => {
            return Err(Error::invalid(
                "send one of 'token', 'accessor' and 'policies': whose rights are to be explained",
            ));
        }
    };
    ask.core.policies.rights(ask.tx, &names, ask.call.now_ms)
}

fn capability(name: &str) -> Result<Capability, Error> {
    match name {
        "create" => Ok(Capability::Create),
        "read" => Ok(Capability::Read),
        "update" | "write" => Ok(Capability::Update),
        "patch" => Ok(Capability::Patch),
        "delete" => Ok(Capability::Delete),
        "list" => Ok(Capability::List),
        "scan" => Ok(Capability::Scan),
        _ => Err(Error::invalid(
            "'operation' is one of create, read, update, patch, delete, list, scan; send one of them",
        )),
    }
}

fn operation_of(capability: Capability) -> Operation {
    match capability {
        Capability::Patch => Operation::Patch,
        Capability::Delete => Operation::Delete,
        Capability::List => Operation::List,
        Capability::Scan => Operation::Scan,
        Capability::Create | Capability::Update => Operation::Write,
        _ => Operation::Read,
    }
}

pub(super) const EXPLAIN: BodyFields = BodyFields::of::<Body>(&[
    word("token", "Whose rights are to be explained."),
    word("accessor", "The accessor of the token whose rights are to be explained."),
    word("policies", "The policies whose rights are to be explained."),
    word("path", "Where.").required(),
    word("operation", "What is to be done there; `read` where nothing is said."),
    word("parameters", "The body that the request would have."),
    word("limit", "How many names a list would ask for."),
]);

#[derive(Deserialize)]
struct Body {
    token: Option<String>,
    accessor: Option<String>,
    policies: Option<TextList>,
    path: Option<String>,
    operation: Option<String>,
    parameters: Option<Map<String, Value>>,
    limit: Option<Value>,
}
