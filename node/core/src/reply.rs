//! The answer that is kept with a request id, sealed, for whoever sends the request again.

use bytes::Bytes;
use prost::Message;

use crate::{Error, ErrorCode, Response};

/// The most that is kept: sealed, it has at most 4 KiB.
const REPLY_BYTES_MAX: usize = 4096 - 64;

/// An answer: of an engine, or its error. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct ReplyRecord {
    /// JSON; absent where there is nothing to say.
    #[prost(bytes = "bytes", optional, tag = "1")]
    data: Option<Bytes>,
    #[prost(string, repeated, tag = "2")]
    warnings: Vec<String>,
    /// 0 for success; otherwise a number of the table below.
    #[prost(uint32, tag = "3")]
    error_code: u32,
    #[prost(string, tag = "4")]
    error_message: String,
    /// JSON of `auth`; absent where no token was made.
    #[prost(bytes = "bytes", optional, tag = "5")]
    auth: Option<Bytes>,
    #[prost(uint64, tag = "6")]
    lease_duration_s: u64,
}

/// An answer that is too long is kept without its data, and says so.
pub(crate) fn encode(answer: &Result<Response, Error>) -> Bytes {
    let mut record = match answer {
        Ok(response) => ReplyRecord {
            data: response.data.clone(),
            warnings: response.warnings.clone(),
            auth: response.auth.clone(),
            lease_duration_s: response.lease_duration_s,
            ..ReplyRecord::default()
        },
        Err(error) => ReplyRecord {
            data: error.data.clone(),
            error_code: error.code as u32,
            error_message: error.message.clone(),
            ..ReplyRecord::default()
        },
    };
    if record.encoded_len() > REPLY_BYTES_MAX {
        record.data = None;
        record.auth = None;
        record.error_message.clear();
        record.warnings =
            vec!["the first answer to this request was too long to be kept; read it again".into()];
    }
    record.encode_to_vec().into()
}

/// The first answer; the outer error is a fault of ours.
pub(crate) fn decode(bytes: Bytes) -> Result<Result<Response, Error>, Error> {
    let record = ReplyRecord::decode(bytes)
        .map_err(|error| Error::internal(format!("a kept reply cannot be read: {error}")))?;
    if record.error_code == 0 {
        return Ok(Ok(Response {
            data: record.data,
            warnings: record.warnings,
            auth: record.auth,
            lease_duration_s: record.lease_duration_s,
            revision: 0,
        }));
    }
    let code = CODES.into_iter().find(|code| *code as u32 == record.error_code);
    let code = code.ok_or_else(|| Error::internal("a kept reply has an unknown error code"))?;
    let mut error = Error::new(code, record.error_message);
    error.data = record.data;
    Ok(Err(error))
}

/// The codes that can be the lasting answer to a request.
const CODES: [ErrorCode; 7] = [
    ErrorCode::InvalidRequest,
    ErrorCode::CasMismatch,
    ErrorCode::PermissionDenied,
    ErrorCode::NotFound,
    ErrorCode::UnsupportedOperation,
    ErrorCode::Conflict,
    ErrorCode::TooLarge,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back() {
        let response = Response {
            data: Some(Bytes::from_static(b"{\"version\":1}")),
            warnings: vec!["w".into()],
            ..Default::default()
        };
        let back = decode(encode(&Ok(response))).unwrap().unwrap();
        assert_eq!(back.data.as_deref(), Some(&b"{\"version\":1}"[..]));
        assert_eq!(back.warnings, ["w"]);
        for code in CODES {
            let error = Error::new(code, "m").with_data(Bytes::from_static(b"{}"));
            let back = decode(encode(&Err(error))).unwrap().unwrap_err();
            assert_eq!((back.code, back.message.as_str()), (code, "m"));
            assert_eq!(back.data.as_deref(), Some(&b"{}"[..]));
        }
    }

    #[test]
    fn a_long_answer_is_kept_without_its_data() {
        let response =
            Response { data: Some(vec![b'x'; REPLY_BYTES_MAX].into()), ..Default::default() };
        let encoded = encode(&Ok(response));
        assert!(encoded.len() <= REPLY_BYTES_MAX);
        let back = decode(encoded).unwrap().unwrap();
        assert_eq!((back.data, back.warnings.len()), (None, 1));
    }

    /// The layout on disk: a change here breaks kept replies.
    #[test]
    fn golden_layout() {
        let error = Error::new(ErrorCode::CasMismatch, "m");
        assert_eq!(hex::encode(encode(&Err(error))), "180222016d");
        let response = Response { data: Some(Bytes::from_static(b"{}")), ..Default::default() };
        assert_eq!(hex::encode(encode(&Ok(response))), "0a027b7d");
    }
}
