//! `sys/…`: the cluster, its mounts and its policies, one small file each.

mod audit;
mod audited_headers;
mod capabilities;
mod config_routes;
mod cors;
mod explain;
mod generate_root;
mod join_token;
mod key_routes;
mod key_shares;
mod limit_routes;
mod locked_users;
mod member_views;
mod members;
mod metrics;
mod mounts;
mod password_policies;
mod plugins;
mod policies;
mod quotas;
mod raft_configuration;
mod rekey;
mod rotate;
mod seal;
mod sessions;
mod step_down;
mod tools;
mod user_interface;
mod version_history;

use conclave_mount::Operation::{Delete, List, Patch, Read, Write};

use crate::help;
use crate::routes::Handler::{Anybody, Now, Waits};
use crate::routes::Kind::{ActsHere, ActsOnCluster, Reads, ReadsHere, Streams, WritesRows};
use crate::routes::Tokenless::Always;
use crate::routes::{CoreRoute, not_a_stream};

pub(crate) use config_routes::CONFIG_ROUTES;
pub(crate) use cors::CorsCache;
pub use cors::CorsRules;
pub(crate) use key_routes::KEY_ROUTES;
pub(crate) use limit_routes::LIMIT_ROUTES;
pub(crate) use rotate::maintain as rotate_where_due;
pub(crate) use version_history::{begin as begin_versions, note as note_version};

/// The version that `seal-status`, `health` and others name: clients of the Vault API parse it as strict
/// semver and switch features on by it, so it is the version of the API, with ours as build data.
pub const API_VERSION: &str = concat!("1.17.0+conclave.", env!("CARGO_PKG_VERSION"));

const fn route(
    pattern: &'static str,
    operation: conclave_mount::Operation,
    kind: crate::routes::Kind,
    handler: crate::routes::Handler,
    help: &'static str,
) -> CoreRoute {
    CoreRoute::new(pattern, operation, kind, handler, help)
}

/// Whether a text can name a header.
fn is_header_name(text: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(token)
}

/// Whoever may ask here is also told why a request of theirs was denied.
pub(crate) const EXPLAIN_PATH: &str = "sys/policies/explain";

pub(crate) const ROUTES: &[CoreRoute] = &[
    route("sys/seal", Write, ActsHere, Waits(seal::seal), "Seals the node that is asked.").sudo(),
    route(
        "sys/step-down",
        Write,
        ActsOnCluster,
        Waits(step_down::step_down),
        "The leader hands over to another voter.",
    )
    .sudo(),
    route(
        "sys/storage/raft/configuration",
        Read,
        Reads,
        Waits(raft_configuration::read),
        "The members of the cluster.",
    ),
    route(
        "sys/storage/raft/remove-peer",
        Write,
        ActsOnCluster,
        Waits(members::remove),
        "Removes a member for good.",
    )
    .takes(&[members::MEMBER]),
    route(
        "sys/storage/raft/promote",
        Write,
        ActsOnCluster,
        Waits(members::promote),
        "Makes a learner a voter.",
    )
    .takes(&[members::MEMBER]),
    route(
        "sys/storage/raft/demote",
        Write,
        ActsOnCluster,
        Waits(members::demote),
        "Makes a voter a learner.",
    )
    .takes(&[members::MEMBER]),
    route(
        "sys/storage/raft/snapshot",
        Read,
        Streams,
        Now(not_a_stream),
        "Saves a signed backup of everything.",
    ),
    route(
        "sys/storage/raft/snapshot",
        Write,
        Streams,
        Now(not_a_stream),
        "Restores a backup of this cluster.",
    ),
    route(
        "sys/storage/raft/snapshot-force",
        Write,
        Streams,
        Now(not_a_stream),
        "Restores a backup of another cluster with the same keys.",
    ),
    route(
        "sys/storage/raft/join-token",
        Write,
        WritesRows,
        Waits(join_token::create),
        "Makes a secret by which one new node may join.",
    )
    .takes(&[join_token::JOIN_TOKEN]),
    route("sys/metrics", Read, ReadsHere, Now(metrics::read), "Figures of the node that is asked."),
    route(
        "sys/sessions/open",
        Write,
        WritesRows,
        Now(sessions::open),
        "Opens a session for request ids.",
    )
    .takes(&[sessions::OPEN]),
    route("sys/sessions/close", Write, WritesRows, Now(sessions::close), "Closes a session.")
        .takes(&[sessions::CLOSE]),
    route(
        "sys/internal/specs/openapi",
        Read,
        Reads,
        Anybody(help::openapi),
        "Describes every path of this cluster.",
    )
    .tokenless(Always),
    route(
        "sys/internal/specs/openapi",
        Write,
        Reads,
        Anybody(help::openapi),
        "Describes every path of this cluster.",
    )
    .tokenless(Always)
    .takes(&[help::ASKED]),
    route(
        "sys/internal/ui/mounts",
        Read,
        Reads,
        Now(mounts::ui_all),
        "The mounts that the caller may see.",
    ),
    route(
        "sys/internal/ui/mounts/*path",
        Read,
        Reads,
        Now(mounts::ui_one),
        "The mount that serves a path.",
    ),
    route("sys/mounts", Read, Reads, Now(mounts::all), "Every secrets engine."),
    route(
        "sys/mounts/*path/tune",
        Read,
        Reads,
        Now(mounts::read_tuning),
        "The settings of a mount.",
    ),
    route(
        "sys/mounts/*path/tune",
        Write,
        WritesRows,
        Now(mounts::tune),
        "Changes settings of a mount.",
    )
    .takes(&[mounts::TUNING]),
    route("sys/mounts/*path", Read, Reads, Now(mounts::one), "One secrets engine."),
    route("sys/mounts/*path", Write, WritesRows, Now(mounts::enable), "Enables a secrets engine.")
        .takes(&[mounts::ENABLE]),
    route(
        "sys/mounts/*path",
        Delete,
        WritesRows,
        Now(mounts::disable),
        "Disables a secrets engine.",
    ),
    route("sys/auth", Read, Reads, Now(mounts::all_auth), "Every auth method."),
    route(
        "sys/auth/*path/tune",
        Read,
        Reads,
        Now(mounts::read_tuning),
        "The settings of an auth method.",
    )
    .sudo(),
    route(
        "sys/auth/*path/tune",
        Write,
        WritesRows,
        Now(mounts::tune),
        "Changes settings of an auth method.",
    )
    .takes(&[mounts::TUNING])
    .sudo(),
    route("sys/auth/*path", Read, Reads, Now(mounts::one), "One auth method.").sudo(),
    route("sys/auth/*path", Write, WritesRows, Now(mounts::enable), "Enables an auth method.")
        .takes(&[mounts::ENABLE])
        .sudo(),
    route("sys/auth/*path", Delete, WritesRows, Now(mounts::disable), "Disables an auth method.")
        .sudo(),
    route("sys/remount", Write, WritesRows, Now(mounts::remount), "Moves a mount to another path.")
        .takes(&[mounts::REMOUNT])
        .sudo(),
    route("sys/remount/status/:id", Read, Reads, Now(mounts::status), "How far a move is.").sudo(),
    route(
        "sys/capabilities",
        Write,
        Reads,
        Now(capabilities::of_token),
        "What a token may do at paths.",
    )
    .takes(&[capabilities::CAPABILITIES]),
    route(
        "sys/capabilities-accessor",
        Write,
        Reads,
        Now(capabilities::of_accessor),
        "What the token of an accessor may do at paths.",
    )
    .takes(&[capabilities::CAPABILITIES]),
    route(
        "sys/capabilities-self",
        Write,
        Reads,
        Now(capabilities::own),
        "What the caller may do at paths.",
    )
    .takes(&[capabilities::CAPABILITIES]),
    route(
        EXPLAIN_PATH,
        Write,
        Reads,
        Now(explain::explain),
        "Why policies allow or deny something.",
    )
    .takes(&[explain::EXPLAIN]),
    route(
        "sys/policies/lint",
        Write,
        Reads,
        Now(policies::lint),
        "What is doubtful in a policy's text.",
    )
    .takes(&[policies::LINT]),
    route("sys/policies/acl", List, Reads, Now(policies::list), "The names of all policies."),
    route("sys/policies/acl/*name", Read, Reads, Now(policies::read), "A policy's text."),
    route("sys/policies/acl/*name", Write, WritesRows, Now(policies::write), "Writes a policy.")
        .takes(&[policies::POLICY]),
    route("sys/policies/acl/*name", Delete, WritesRows, Now(policies::delete), "Removes a policy."),
    route("sys/policies/acl/*name", Patch, WritesRows, Now(policies::patch), "Changes a policy.")
        .takes(&[policies::POLICY]),
    route(
        "sys/policies/detailed/acl",
        List,
        Reads,
        Now(policies::list_detailed),
        "Every policy with its text.",
    ),
    route("sys/policy", Read, Reads, Now(policies::list_old), "The names of all policies."),
    route("sys/policy", List, Reads, Now(policies::list_old), "The names of all policies."),
    route("sys/policy/*name", Read, Reads, Now(policies::read_old), "A policy's text."),
    route("sys/policy/*name", Write, WritesRows, Now(policies::write), "Writes a policy.")
        .takes(&[policies::POLICY]),
    route("sys/policy/*name", Delete, WritesRows, Now(policies::delete), "Removes a policy."),
    route("sys/audit", Read, ReadsHere, Now(audit::list), "Every audit device.").sudo(),
    route("sys/audit/*path", Write, WritesRows, Waits(audit::enable), "Enables an audit device.")
        .takes(&[audit::DEVICE])
        .sudo(),
    route(
        "sys/audit/*path",
        Delete,
        WritesRows,
        Now(audit::disable),
        "Disables an audit device that was enabled by API.",
    )
    .sudo(),
    route(
        "sys/audit-hash/*path",
        Write,
        Reads,
        Now(audit::hash),
        "What a value looks like in the log of an audit device.",
    )
    .takes(&[audit::INPUT])
    .sudo(),
    route(
        "sys/audit-anchors",
        Read,
        Reads,
        Now(audit::anchors),
        "What the cluster committed of every audit log, to check one by.",
    )
    .sudo(),
    route(
        "sys/config/auditing/request-headers",
        Read,
        Reads,
        Now(audited_headers::list),
        "The headers that the audit log may hold.",
    )
    .sudo(),
    route(
        "sys/config/auditing/request-headers/:name",
        Read,
        Reads,
        Now(audited_headers::read),
        "Whether a header's values are hidden in the audit log.",
    )
    .sudo(),
    route(
        "sys/config/auditing/request-headers/:name",
        Write,
        WritesRows,
        Now(audited_headers::write),
        "Lets the audit log hold a header.",
    )
    .takes(&[audited_headers::HEADER])
    .sudo(),
    route(
        "sys/config/auditing/request-headers/:name",
        Delete,
        WritesRows,
        Now(audited_headers::delete),
        "Keeps a header out of the audit log.",
    )
    .sudo(),
];
