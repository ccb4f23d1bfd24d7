//! The routes of what user interfaces and tools around the cluster ask for.

use conclave_mount::Operation::{Delete, List, Read, Write};

use super::{cors, member_views, plugins, route, tools, user_interface, version_history};
use crate::routes::CoreRoute;
use crate::routes::Handler::{Anybody, Now, Waits};
use crate::routes::Kind::{Reads, WritesRows};
use crate::routes::Tokenless::Always;

pub(crate) const CONFIG_ROUTES: &[CoreRoute] = &[
    route(
        "sys/config/cors",
        Read,
        Reads,
        Now(cors::read),
        "Which web pages of other origins may call.",
    )
    .sudo(),
    route(
        "sys/config/cors",
        Write,
        WritesRows,
        Now(cors::write),
        "Lets web pages of other origins call.",
    )
    .takes(&[cors::CORS])
    .sudo(),
    route(
        "sys/config/cors",
        Delete,
        WritesRows,
        Now(cors::delete),
        "Lets no web page of another origin call.",
    )
    .sudo(),
    route(
        "sys/internal/ui/resultant-acl",
        Read,
        Reads,
        Now(user_interface::resultant_acl),
        "What the caller's policies amount to.",
    ),
    route(
        "sys/internal/ui/version",
        Read,
        Reads,
        Now(user_interface::version),
        "The version of the API.",
    ),
    route(
        "sys/internal/ui/feature-flags",
        Read,
        Reads,
        Anybody(user_interface::feature_flags),
        "Which parts are switched on by flags: none is.",
    )
    .tokenless(Always),
    route(
        "sys/internal/counters/tokens",
        Read,
        Reads,
        Now(user_interface::count_tokens),
        "How many service tokens live.",
    ),
    route(
        "sys/version-history",
        List,
        Reads,
        Now(version_history::list),
        "Which versions have led the cluster, and since when.",
    ),
    route(
        "sys/ha-status",
        Read,
        Reads,
        Waits(member_views::ha_status),
        "The members, and which of them leads.",
    ),
    route(
        "sys/storage/raft/autopilot/state",
        Read,
        Reads,
        Waits(member_views::autopilot_state),
        "How the members are, and how many may fail.",
    ),
    random("sys/tools/random"),
    random("sys/tools/random/:bytes"),
    random("sys/tools/random/:source/:bytes"),
    hash("sys/tools/hash"),
    hash("sys/tools/hash/:algorithm"),
    route(
        "sys/decode-token",
        Write,
        Reads,
        Anybody(tools::decode_token),
        "Takes the pad off a root token that holders of shares have made.",
    )
    .takes(&[tools::DECODE])
    .tokenless(Always),
    route(
        "sys/plugins/catalog",
        Read,
        Reads,
        Now(plugins::all),
        "Every engine and method that can be mounted.",
    ),
    route(
        "sys/plugins/catalog/:type",
        List,
        Reads,
        Now(plugins::list),
        "The engines or methods of a type.",
    )
    .sudo(),
    route(
        "sys/plugins/catalog/:type/:name",
        Read,
        Reads,
        Now(plugins::read),
        "One engine or method.",
    )
    .sudo(),
    plugin_refusal(Write),
    plugin_refusal(Delete),
];

const fn random(pattern: &'static str) -> CoreRoute {
    route(pattern, Write, Reads, Now(tools::random), "Random bytes.").takes(&[tools::RANDOM])
}

const fn hash(pattern: &'static str) -> CoreRoute {
    route(pattern, Write, Reads, Now(tools::hash), "The digest of data.").takes(&[tools::HASH])
}

const fn plugin_refusal(operation: conclave_mount::Operation) -> CoreRoute {
    let help = "Refused: there are no external plugins.";
    route("sys/plugins/catalog/:type/:name", operation, Reads, Now(plugins::refuse), help).sudo()
}
