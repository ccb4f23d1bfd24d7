//! Making tokens: times are capped, names are cleaned, rows are written.

use std::collections::BTreeMap;

use conclave_barrier::{Barrier, Transaction};
use conclave_mount::format_duration;
use conclave_ports::Ports;
use zeroize::Zeroizing;

use super::authenticate::depth;
use super::record::{Kind, TokenRecord};
use super::{ANCESTORS_MAX, DEFAULT_POLICY, ROOT_POLICY, batch, store, sweep, text};
use crate::Error;

/// How long what is lent lives where nobody says: 32 days, as clients of this API expect.
pub(crate) const DEFAULT_TTL_MS: u64 = 768 * 3_600_000;

/// The longest that anything lent may live where nobody says.
pub(crate) const MAX_TTL_MS: u64 = 768 * 3_600_000;

/// Metadata of one token.
const METADATA_KEYS_MAX: usize = 64;
const METADATA_BYTES_MAX: usize = 16 << 10;
const POLICIES_MAX: usize = 256;
const CIDRS_MAX: usize = 64;

/// What a token is to be.
#[derive(Default)]
pub(crate) struct NewToken {
    /// Chosen by its maker; `None`: made here.
    pub(crate) text: Option<Zeroizing<String>>,
    pub(crate) display_name: String,
    /// As they were asked for, in any order; `default` comes along unless `no_default_policy`.
    pub(crate) policies: Vec<String>,
    pub(crate) no_default_policy: bool,
    /// Empty: an orphan.
    pub(crate) parent: Vec<u8>,
    /// Where it is made.
    pub(crate) path: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// 0: the default; a root token's lives for ever then.
    pub(crate) ttl_ms: u64,
    /// The longest by role or mount; 0: the system's.
    pub(crate) max_ttl_ms: u64,
    pub(crate) explicit_max_ttl_ms: u64,
    pub(crate) period_ms: u64,
    pub(crate) num_uses: u64,
    pub(crate) bound_cidrs: Vec<String>,
    pub(crate) role: String,
    pub(crate) renewable: bool,
    pub(crate) kind: Kind,
}

/// A token that the commit will make.
pub(crate) struct Made {
    /// The only time that anybody sees it.
    pub(crate) text: Zeroizing<String>,
    pub(crate) record: TokenRecord,
    pub(crate) warnings: Vec<String>,
}

/// Writes the rows of a new token.
pub(crate) fn make(
    barrier: &Barrier,
    ports: &Ports,
    tx: &mut Transaction,
    new: NewToken,
    now_ms: u64,
) -> Result<Made, Error> {
    check_sizes(&new)?;
    let mut warnings = Vec::new();
    let policies = derive_policies(&new);
    let is_root = policies.iter().any(|policy| policy == ROOT_POLICY);
    let is_batch = new.kind == Kind::Batch;
    if is_batch {
        check_batch(&new, is_root)?;
    }
    let ttl_ms = match is_root && new.ttl_ms == 0 && new.period_ms == 0 {
        true => new.explicit_max_ttl_ms,
        false => {
            let bounds = Bounds {
                max_ttl_ms: if new.max_ttl_ms == 0 { MAX_TTL_MS } else { new.max_ttl_ms },
                explicit_end_ms: explicit_end(now_ms, new.explicit_max_ttl_ms),
                end_ms: None,
            };
            bounds.cap(new.ttl_ms, new.period_ms, now_ms, &mut warnings)
        }
    };
    let record = TokenRecord {
        created_ms: now_ms,
        display_name: new.display_name,
        policies,
        accessor: if is_batch { String::new() } else { text::make_base62(ports).to_string() },
        parent: new.parent,
        path: new.path,
        metadata: new.metadata,
        ttl_ms,
        expires_ms: if ttl_ms == 0 { 0 } else { now_ms.saturating_add(ttl_ms) },
        explicit_max_ttl_ms: new.explicit_max_ttl_ms,
        period_ms: new.period_ms,
        uses_left: new.num_uses,
        bound_cidrs: new.bound_cidrs,
        role: new.role,
        renewable: new.renewable && ttl_ms > 0 && !is_batch,
        max_ttl_ms: new.max_ttl_ms,
        kind: new.kind as i32,
        ..TokenRecord::default()
    };
    if depth(tx, &record, now_ms)?.is_none_or(|depth| depth > ANCESTORS_MAX) {
        return Err(Error::invalid(format!(
            "a token may have {ANCESTORS_MAX} ancestors; make an orphan instead"
        )));
    }
    if is_batch {
        let text = batch::seal(barrier, ports, &record)?;
        return Ok(Made { text, record, warnings });
    }
    let is_chosen = new.text.is_some();
    let text = new.text.unwrap_or_else(|| text::make_text(ports));
    let hash = write(barrier, tx, &text, &record)?;
    if is_chosen {
        sweep::empty_cubbyhole(tx, &hash)?;
    }
    Ok(Made { text, record, warnings })
}

/// Makes the root token of a new cluster.
pub(crate) fn create_root(
    barrier: &Barrier,
    ports: &Ports,
    tx: &mut Transaction,
    now_ms: u64,
) -> Result<Zeroizing<String>, Error> {
    let text = text::make_text(ports);
    let record = TokenRecord {
        created_ms: now_ms,
        display_name: ROOT_POLICY.into(),
        policies: vec![ROOT_POLICY.into()],
        accessor: text::make_base62(ports).to_string(),
        path: "auth/token/root".into(),
        ..TokenRecord::default()
    };
    write(barrier, tx, &text, &record)?;
    Ok(text)
}

fn write(
    barrier: &Barrier,
    tx: &mut Transaction,
    text: &str,
    record: &TokenRecord,
) -> Result<[u8; 32], Error> {
    let hash = store::hash(barrier, text)
        .ok_or_else(|| Error::invalid("the token's text is empty or too long"))?;
    if store::load(tx, &hash)?.is_some() {
        return Err(Error::invalid("cannot create a token with a duplicate ID"));
    }
    store::put(tx, &hash, record)?;
    store::put_accessor(barrier, tx, &record.accessor, &hash)?;
    Ok(hash)
}

/// Sorted, each once; `root` stands alone.
fn derive_policies(new: &NewToken) -> Vec<String> {
    let mut policies: Vec<String> =
        new.policies.iter().map(|policy| policy.trim().to_lowercase()).collect();
    policies.retain(|policy| !policy.is_empty());
    if policies.iter().any(|policy| policy == ROOT_POLICY) {
        return vec![ROOT_POLICY.into()];
    }
    if !new.no_default_policy {
        policies.push(DEFAULT_POLICY.into());
    }
    policies.sort();
    policies.dedup();
    policies
}

/// What needs a row cannot be asked of a token without one.
fn check_batch(new: &NewToken, is_root: bool) -> Result<(), Error> {
    let asked = if is_root {
        "be root tokens"
    } else if new.period_ms > 0 {
        "be periodic"
    } else if new.num_uses > 0 {
        "have a use limit"
    } else if new.explicit_max_ttl_ms > 0 {
        "have an explicit max TTL"
    } else if new.text.is_some() {
        "have a chosen id"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("batch tokens cannot {asked}; ask for a service token")))
}

fn check_sizes(new: &NewToken) -> Result<(), Error> {
    let metadata_bytes: usize =
        new.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if new.metadata.len() > METADATA_KEYS_MAX || metadata_bytes > METADATA_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a token's metadata may have {METADATA_KEYS_MAX} keys and {METADATA_BYTES_MAX} bytes; \
             store more as a secret"
        )));
    }
    if new.policies.len() > POLICIES_MAX || new.bound_cidrs.len() > CIDRS_MAX {
        return Err(Error::invalid(format!(
            "a token may have {POLICIES_MAX} policies and {CIDRS_MAX} networks; group them"
        )));
    }
    Ok(())
}

/// When a token made at `from_ms` ends whatever is renewed; `None` where it has no such bound.
pub(crate) fn explicit_end(from_ms: u64, explicit_max_ttl_ms: u64) -> Option<u64> {
    (explicit_max_ttl_ms > 0).then(|| from_ms.saturating_add(explicit_max_ttl_ms))
}

/// What caps the life of a token.
pub(crate) struct Bounds {
    /// By role, mount or system.
    pub(crate) max_ttl_ms: u64,
    /// By its maker.
    pub(crate) explicit_end_ms: Option<u64>,
    /// When a token that is not periodic ends at the latest: set for a renewal.
    pub(crate) end_ms: Option<u64>,
}

impl Bounds {
    /// How long it may live from now on. `ttl_ms` 0 asks for the default.
    pub(crate) fn cap(
        &self,
        ttl_ms: u64,
        period_ms: u64,
        now_ms: u64,
        warnings: &mut Vec<String>,
    ) -> u64 {
        let asked = match (period_ms, ttl_ms) {
            (0, 0) => DEFAULT_TTL_MS.min(self.max_ttl_ms),
            (0, ttl_ms) => ttl_ms,
            (period_ms, _) => period_ms,
        };
        let mut most = self.max_ttl_ms;
        if let (0, Some(end_ms)) = (period_ms, self.end_ms) {
            most = most.min(end_ms.saturating_sub(now_ms));
        }
        if let Some(end_ms) = self.explicit_end_ms {
            most = most.min(end_ms.saturating_sub(now_ms));
        }
        if asked > most {
            warnings.push(format!(
                "TTL of {:?} exceeded the effective max_ttl of {:?}; TTL value is capped \
                 accordingly",
                format_duration(asked),
                format_duration(most)
            ));
        }
        asked.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(bounds: &Bounds, ttl_ms: u64, period_ms: u64) -> (u64, usize) {
        let mut warnings = Vec::new();
        let ttl_ms = bounds.cap(ttl_ms, period_ms, 1000, &mut warnings);
        (ttl_ms, warnings.len())
    }

    #[test]
    fn times_are_capped_by_the_nearest_bound() {
        let wide = Bounds { max_ttl_ms: 100, explicit_end_ms: None, end_ms: None };
        assert_eq!(cap(&wide, 0, 0), (100, 0), "the default is no wish");
        assert_eq!(cap(&wide, 50, 0), (50, 0));
        assert_eq!(cap(&wide, 500, 0), (100, 1));
        assert_eq!(cap(&wide, 500, 70), (70, 0), "a period is what counts");
        let near = Bounds { explicit_end_ms: Some(1030), end_ms: Some(1060), ..wide };
        assert_eq!(cap(&near, 50, 0), (30, 1));
        assert_eq!(cap(&near, 50, 70), (30, 1), "even a periodic token has an explicit end");
        let renewal = Bounds { max_ttl_ms: 100, explicit_end_ms: None, end_ms: Some(1060) };
        assert_eq!(cap(&renewal, 90, 0), (60, 1));
        assert_eq!(cap(&renewal, 90, 90), (90, 0), "a period knows no end");
    }

    #[test]
    fn policies_are_sorted_and_root_stands_alone() {
        let policies = |names: &[&str], no_default_policy| {
            let policies = names.iter().map(|name| (*name).to_owned()).collect();
            derive_policies(&NewToken { policies, no_default_policy, ..NewToken::default() })
        };
        assert_eq!(policies(&["b", "A ", "b"], false), ["a", "b", "default"]);
        assert_eq!(policies(&["b", ""], true), ["b"]);
        assert_eq!(policies(&["b", "root"], false), ["root"]);
    }
}
