//! What clients ask, in a form that can be sent again and handed on.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use conclave_core::{
    Error, ErrorCode, Idempotency, Operation, ReadLevel, Request, Response, Token,
};

/// How long a node may work on a request.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A client's request.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) operation: Operation,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) version: Option<u64>,
    pub(crate) token: String,
    pub(crate) idempotency: Option<Idempotency>,
}

/// What a node answered.
pub(crate) type Answer = Result<Reply, Refusal>;

/// A good answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) data: Option<Bytes>,
    pub(crate) revision: u64,
}

/// A no.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) data: Option<Bytes>,
}

impl Ask {
    /// As core takes it.
    pub(crate) fn to_request(&self) -> Request {
        let version = self.version.map(|version| ("version".to_owned(), version.to_string()));
        Request {
            id: String::new(),
            operation: self.operation,
            path: self.path.clone(),
            namespace: String::new(),
            token: Some(Token::new(self.token.clone())),
            body: self.body.clone(),
            query: version.into_iter().collect::<BTreeMap<_, _>>(),
            client: None,
            headers: BTreeMap::new(),
            forwarded_from: String::new(),
            idempotency: self.idempotency.clone(),
            read_level: ReadLevel::Linearizable,
            time_limit: TIME_LIMIT,
        }
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self { data: response.data, revision: response.revision }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { code: error.code, message: error.message, data: error.data }
    }
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: &str) -> Self {
        Self { code, message: message.to_owned(), data: None }
    }
}
