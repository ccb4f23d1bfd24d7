//! What every auth method lets its users and roles say about the tokens of a login.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::fields::{DurationMs, Flag, TextList, Whole, present};
use crate::{BodyFields, EngineError, ErrorCode, Login, Networks, TokenKind, word};

/// Most policies that a user or role names.
const POLICIES_MAX: usize = 256;
/// Most networks that a user or role names.
const NETWORKS_MAX: usize = 128;
/// The longest policy name or network.
const TEXT_BYTES_MAX: usize = 256;

/// The fields as they are stored, inside the record of a user or role. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TokenFields {
    /// Sorted, in lower case, each once.
    #[prost(string, repeated, tag = "1")]
    pub policies: Vec<String>,
    /// 0: the mount's default.
    #[prost(uint64, tag = "2")]
    pub ttl_ms: u64,
    /// 0: the mount's longest.
    #[prost(uint64, tag = "3")]
    pub max_ttl_ms: u64,
    /// Not 0: renewed to this for ever.
    #[prost(uint64, tag = "4")]
    pub period_ms: u64,
    /// Not 0: ends at the latest then.
    #[prost(uint64, tag = "5")]
    pub explicit_max_ttl_ms: u64,
    /// 0: as often as it likes.
    #[prost(uint64, tag = "6")]
    pub num_uses: u64,
    /// As they were given; each is a network.
    #[prost(string, repeated, tag = "7")]
    pub bound_cidrs: Vec<String>,
    /// Whether the policy `default` is left out.
    #[prost(bool, tag = "8")]
    pub no_default_policy: bool,
    /// 0: what the mount says, 1: service, 2: batch.
    #[prost(uint32, tag = "9")]
    pub kind: u32,
    /// Whether the token works from the address of its login alone.
    #[prost(bool, tag = "10")]
    pub strictly_bind_ip: bool,
}

/// The fields as clients write them: those that are there replace what stood there.
#[derive(Debug, Default, Deserialize)]
pub struct TokenFieldsBody {
    #[serde(default, deserialize_with = "present")]
    token_policies: Option<TextList>,
    #[serde(default, deserialize_with = "present")]
    token_ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    token_max_ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    token_period: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    token_explicit_max_ttl: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    token_num_uses: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    token_bound_cidrs: Option<TextList>,
    #[serde(default, deserialize_with = "present")]
    token_no_default_policy: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    token_type: Option<String>,
    #[serde(default, deserialize_with = "present")]
    token_strictly_bind_ip: Option<Flag>,
}

/// The fields as clients read them back: seconds, and every field there. Goes into an answer with
/// `#[serde(flatten)]`.
#[derive(Debug, Serialize)]
pub struct TokenFieldsView<'a> {
    token_bound_cidrs: &'a [String],
    token_explicit_max_ttl: u64,
    token_max_ttl: u64,
    token_no_default_policy: bool,
    token_num_uses: u64,
    token_period: u64,
    token_policies: &'a [String],
    token_strictly_bind_ip: bool,
    token_ttl: u64,
    token_type: &'static str,
}

impl TokenFieldsBody {
    /// What tools are told of them.
    pub const BODY: BodyFields = BodyFields::of::<Self>(&[
        word("token_policies", "The policies of the tokens."),
        word("token_ttl", "How long a token lives."),
        word("token_max_ttl", "How long it lives at the most, renewals included."),
        word("token_period", "What each renewal prolongs it to, for ever."),
        word("token_explicit_max_ttl", "When it ends at the latest, whatever else is said."),
        word("token_num_uses", "How often it can be used; 0 for no bound."),
        word("token_bound_cidrs", "The networks that it is given to and works from."),
        word("token_no_default_policy", "Whether the policy `default` is left out."),
        word("token_type", "`service`, `batch` or `default`."),
        word("token_strictly_bind_ip", "Whether it works from the address of its login alone."),
    ]);

    /// Changes what the body names and checks the whole.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the field.
    pub fn apply(self, fields: &mut TokenFields) -> Result<(), EngineError> {
        if let Some(TextList(policies)) = self.token_policies {
            fields.set_policies(policies)?;
        }
        if let Some(TextList(networks)) = self.token_bound_cidrs {
            fields.set_bound_cidrs(networks)?;
        }
        if let Some(kind) = self.token_type {
            fields.kind = parse_kind(&kind)?;
        }
        let durations = [
            (self.token_ttl, &mut fields.ttl_ms),
            (self.token_max_ttl, &mut fields.max_ttl_ms),
            (self.token_period, &mut fields.period_ms),
            (self.token_explicit_max_ttl, &mut fields.explicit_max_ttl_ms),
        ];
        for (given, place) in durations {
            if let Some(DurationMs(ms)) = given {
                *place = ms;
            }
        }
        if let Some(Whole(uses)) = self.token_num_uses {
            fields.num_uses = uses;
        }
        if let Some(Flag(left_out)) = self.token_no_default_policy {
            fields.no_default_policy = left_out;
        }
        if let Some(Flag(bind)) = self.token_strictly_bind_ip {
            fields.strictly_bind_ip = bind;
        }
        fields.check()
    }
}

impl TokenFields {
    /// Replaces the policies.
    ///
    /// # Errors
    /// `InvalidRequest` where there are too many or one is too long.
    pub fn set_policies(&mut self, policies: Vec<String>) -> Result<(), EngineError> {
        check_texts("token_policies", &policies, POLICIES_MAX)?;
        policies.iter().try_for_each(|policy| check_policy_name(policy))?;
        let policies: BTreeSet<_> = policies.iter().map(|policy| policy.to_lowercase()).collect();
        self.policies = policies.into_iter().collect();
        Ok(())
    }

    /// Replaces the networks.
    ///
    /// # Errors
    /// `InvalidRequest` where there are too many or one is none.
    pub fn set_bound_cidrs(&mut self, networks: Vec<String>) -> Result<(), EngineError> {
        check_texts("token_bound_cidrs", &networks, NETWORKS_MAX)?;
        if Networks::parse(&networks).is_err() {
            return Err(EngineError::invalid(
                "'token_bound_cidrs' has a text that is neither an address nor a network; write \
                 networks as 10.1.0.0/16",
            ));
        }
        self.bound_cidrs = networks;
        Ok(())
    }

    /// Checks what must fit together.
    ///
    /// # Errors
    /// `InvalidRequest`, in the words that clients know.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.max_ttl_ms > 0 && self.ttl_ms > self.max_ttl_ms {
            return Err(EngineError::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        if self.kind == KIND_BATCH && self.period_ms > 0 {
            return Err(EngineError::invalid(
                "'token_type' cannot be 'batch' when set to generate periodic tokens",
            ));
        }
        if self.kind == KIND_BATCH && self.num_uses > 0 {
            return Err(EngineError::invalid(
                "'token_type' cannot be 'batch' when set to generate tokens with limited use count",
            ));
        }
        Ok(())
    }

    /// The fields for an answer.
    #[must_use]
    pub fn view(&self) -> TokenFieldsView<'_> {
        TokenFieldsView {
            token_bound_cidrs: &self.bound_cidrs,
            token_explicit_max_ttl: self.explicit_max_ttl_ms / 1000,
            token_max_ttl: self.max_ttl_ms / 1000,
            token_no_default_policy: self.no_default_policy,
            token_num_uses: self.num_uses,
            token_period: self.period_ms / 1000,
            token_policies: &self.policies,
            token_strictly_bind_ip: self.strictly_bind_ip,
            token_ttl: self.ttl_ms / 1000,
            token_type: match self.kind {
                KIND_SERVICE => "service",
                KIND_BATCH => "batch",
                _ => "default",
            },
        }
    }

    /// The login of someone whose proof was accepted, from `address`.
    ///
    /// # Errors
    /// `PermissionDenied` where the address is in none of the networks.
    pub fn login(
        &self,
        alias: &str,
        metadata: BTreeMap<String, String>,
        address: Option<IpAddr>,
    ) -> Result<Login, EngineError> {
        let denied = || EngineError::new(ErrorCode::PermissionDenied, "permission denied");
        if !Networks::parse(&self.bound_cidrs)?.admit(address) {
            return Err(denied());
        }
        let bound_cidrs = match (self.strictly_bind_ip, address) {
            (true, Some(address)) => vec![address.to_canonical().to_string()],
            (true, None) => return Err(denied()),
            (false, _) => self.bound_cidrs.clone(),
        };
        Ok(Login {
            alias: alias.to_owned(),
            display_name: alias.to_owned(),
            policies: self.policies.clone(),
            metadata,
            ttl_ms: self.ttl_ms,
            max_ttl_ms: self.max_ttl_ms,
            period_ms: self.period_ms,
            explicit_max_ttl_ms: self.explicit_max_ttl_ms,
            num_uses: self.num_uses,
            bound_cidrs,
            no_default_policy: self.no_default_policy,
            kind: match self.kind {
                KIND_SERVICE => TokenKind::Service,
                KIND_BATCH => TokenKind::Batch,
                _ => TokenKind::Default,
            },
        })
    }
}

/// Refuses what no policy can be called.
///
/// # Errors
/// `InvalidRequest`.
pub fn check_policy_name(name: &str) -> Result<(), EngineError> {
    crate::path::check(name).map_err(|_| {
        EngineError::invalid(
            "a policy's name is written as in its path: no empty part, nothing hidden or encoded \
             in it",
        )
    })
}

fn check_texts(field: &str, texts: &[String], count_max: usize) -> Result<(), EngineError> {
    if texts.len() <= count_max && texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX) {
        return Ok(());
    }
    Err(EngineError::invalid(format!(
        "'{field}' may have {count_max} entries of {TEXT_BYTES_MAX} bytes; give fewer or shorter ones"
    )))
}

fn parse_kind(text: &str) -> Result<u32, EngineError> {
    match text {
        "" | "default" => Ok(0),
        "service" => Ok(KIND_SERVICE),
        "batch" => Ok(KIND_BATCH),
        _ => Err(EngineError::invalid(
            "invalid 'token_type' value; choose 'default', 'service' or 'batch'",
        )),
    }
}

const KIND_SERVICE: u32 = 1;
const KIND_BATCH: u32 = 2;

#[cfg(test)]
mod tests;
