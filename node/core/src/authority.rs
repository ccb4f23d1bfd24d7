//! Whether a caller may do what it asks for.

use std::sync::Arc;

use conclave_barrier::Transaction;
use conclave_mount::Rights;
use serde_json::{Map, Value};

use crate::audit::GrantingPolicy;
use crate::canonical::CanonicalPath;
use crate::mounts::Target;
use crate::policy::{Acl, Capability, Decision, PageLimit, Question, RuleId};
use crate::shown::{self, Shown};
use crate::sys::EXPLAIN_PATH;
use crate::token::{self, Caller};
use crate::{Core, Error, Operation, Request, Response, call, errors, storage};

/// Proof that a request was authorised: its token lives and its policies allow the request, or its
/// route asks for no token. Nothing outside this module can make one.
pub(crate) struct Permit {
    /// Absent where the route asks for no token.
    pub(crate) caller: Option<Caller>,
    /// Whether the caller has `sudo` here.
    pub(crate) sudo: bool,
    /// How many and which names of a list the caller is shown.
    pub(crate) shown: Shown,
    acl: Arc<Acl>,
    /// Absent where nothing had to be decided.
    decided: Option<Decided>,
}

/// What let a request through, for the audit log.
struct Decided {
    capability: Capability,
    /// None for the policy `root`.
    rule: Option<RuleId>,
}

impl Permit {
    /// What the caller may do, for routes and engines that ask about other paths.
    pub(crate) fn acl(&self) -> &Arc<Acl> {
        &self.acl
    }

    /// The answer to a list with the names alone that the caller may know; any other as it is.
    pub(crate) fn filter(&self, path: &CanonicalPath, answer: Response) -> Result<Response, Error> {
        self.shown.filter(&self.acl, path.as_str(), answer)
    }

    /// The policies that let the request through.
    pub(crate) fn granting(&self) -> Vec<GrantingPolicy> {
        let Some(Decided { capability, rule }) = &self.decided else { return Vec::new() };
        let granting = |name: &str| GrantingPolicy {
            name: name.into(),
            namespace_id: "root".into(),
            kind: "acl",
        };
        let Some(rule) = rule else { return vec![granting(token::ROOT_POLICY)] };
        let sources = self.acl.rule(*rule).sources.iter();
        let sources = sources.filter(|source| source.capabilities.contains(*capability));
        sources.map(|source| granting(&source.policy)).collect()
    }

    /// What is asked for, in the words of the audit log.
    pub(crate) fn operation_name(&self, operation: Operation) -> &'static str {
        match &self.decided {
            Some(Decided { capability: Capability::Create, .. }) => Capability::Create.name(),
            _ => operation.name(),
        }
    }
}

impl Core {
    /// Decides about a request in its own view; all that was read becomes a condition of the commit.
    /// `target` says where the path leads, if anywhere: who may not know that is told nothing.
    pub(crate) fn authorise(
        &self,
        request: &Request,
        path: &CanonicalPath,
        target: Result<&Target, &Error>,
        now_ms: u64,
        tx: &mut Transaction,
    ) -> Result<Permit, Error> {
        let open = self.operator.are_open();
        if target.is_ok_and(|target| target.needs_no_token(request, open)) {
            let acl = Arc::new(Acl::compile(&[], None, now_ms));
            let shown = Shown::default();
            return Ok(Permit { caller: None, sudo: false, shown, acl, decided: None });
        }
        let token = request.token.as_ref().ok_or_else(errors::permission_denied)?;
        let caller = token::authenticate(&self.barrier, tx, token, now_ms, request.client)?;
        let acl = self.policies.rights(tx, &caller.record.policies, now_ms)?;
        let parameters = parameters(request);
        let question = Question {
            capability: self.capability(request, target, &caller, tx)?,
            needs_sudo: target.is_ok_and(|target| target.needs_sudo(request.operation)),
            parameters: parameters.as_ref(),
            limit: limit(request),
            ..Question::new(path.as_str(), Capability::Read)
        };
        let decision = acl.decide(&question);
        if !decision.allowed {
            return Err(denied(&acl, &decision));
        }
        let (sudo, shown) = (decision.sudo, Shown::new(&decision));
        let decided = Some(Decided { capability: question.capability, rule: decision.rule });
        Ok(Permit { caller: Some(caller), sudo, shown, acl, decided })
    }

    /// What the operation needs. A write to what is not there yet needs `create`.
    fn capability(
        &self,
        request: &Request,
        target: Result<&Target, &Error>,
        caller: &Caller,
        tx: &mut Transaction,
    ) -> Result<Capability, Error> {
        let exists = match (request.operation, target) {
            (Operation::Write, Ok(target)) => exists(request, target, caller, tx)?,
            _ => true,
        };
        Ok(Capability::of(request.operation, exists))
    }
}

fn exists(
    request: &Request,
    target: &Target,
    caller: &Caller,
    tx: &mut Transaction,
) -> Result<bool, Error> {
    let Target::Mount { engine, mount, path } = target else { return Ok(true) };
    let token_id = call::token_id(caller);
    let asked = conclave_mount::Request {
        caller: conclave_mount::Caller { token_id, ..conclave_mount::Caller::default() },
        mount: Arc::new(mount.view()),
        ..call::unauthorised(request, path)
    };
    engine.exists(&asked, &mut storage::MountStorage::new(tx, mount.id()))
}

/// Who may ask for explanations of policies is told right away what was missing; nobody else learns
/// more than that it was denied.
fn denied(acl: &Acl, decision: &Decision<'_>) -> Error {
    let explains = Question::new(EXPLAIN_PATH, Capability::Update);
    match &decision.denied_because {
        Some(because) if acl.decide(&explains).allowed => {
            errors::permission_denied_because(because)
        }
        _ => errors::permission_denied(),
    }
}

/// How many names a LIST asks for.
fn limit(request: &Request) -> PageLimit {
    match request.query.get(shown::LIMIT) {
        Some(limit) if request.operation.lists() => {
            PageLimit::of(Some(&Value::String(limit.clone())))
        }
        _ => PageLimit::Absent,
    }
}

/// What the handler will see: the fields of the body, or the query of what has none. A body that is
/// no object is the handler's to refuse; no rule about parameters lets it through.
fn parameters(request: &Request) -> Option<Map<String, Value>> {
    if !request.body.is_empty() {
        return Some(serde_json::from_slice(&request.body).unwrap_or_default());
    }
    let fields = request.query.iter();
    Some(fields.map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect())
}

/// What a caller may do below one mount.
pub(crate) struct MountRights {
    pub(crate) acl: Arc<Acl>,
    /// With its slash.
    pub(crate) mount: String,
}

impl Rights for MountRights {
    fn may(&self, operation: Operation, path: &str) -> bool {
        self.allows(Capability::of(operation, true), path)
    }

    fn may_create(&self, path: &str) -> bool {
        self.allows(Capability::Create, path)
    }
}

impl MountRights {
    fn allows(&self, capability: Capability, path: &str) -> bool {
        let path = [self.mount.as_str(), path].concat();
        self.acl.decide(&Question::new(&path, capability)).allowed
    }
}
