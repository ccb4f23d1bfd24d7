//! `auth/token/…`: making, showing, renewing and revoking tokens, one small file each.

mod accessors;
mod create;
mod lookup;
mod renew;
mod revoke;
mod roles;
mod tidy;
mod view;

pub(crate) use lookup::find_accessor;
pub(crate) use view::granted;

use conclave_mount::Operation::{self, Delete, List, Read, Write};

use crate::routes::CoreRoute;
use crate::routes::Handler::{self, Now};
use crate::routes::Kind::{self, Reads, WritesRows};

const fn route(
    pattern: &'static str,
    operation: Operation,
    kind: Kind,
    handler: Handler,
    help: &'static str,
) -> CoreRoute {
    CoreRoute::new(pattern, operation, kind, handler, help)
}

pub(crate) const ROUTES: &[CoreRoute] = &[
    route(
        "auth/token/create",
        Write,
        WritesRows,
        Now(create::child),
        "Makes a child of the caller's token.",
    )
    .takes(&[create::CREATE]),
    route(
        "auth/token/create-orphan",
        Write,
        WritesRows,
        Now(create::orphan),
        "Makes a token without a parent.",
    )
    .takes(&[create::CREATE])
    .sudo(),
    route(
        "auth/token/create/:role",
        Write,
        WritesRows,
        Now(create::by_role),
        "Makes a token as a role says.",
    )
    .takes(&[create::CREATE]),
    route("auth/token/lookup", Write, Reads, Now(lookup::any), "Shows a token.")
        .takes(&[lookup::TOKEN]),
    route("auth/token/lookup", Read, Reads, Now(lookup::own), "Shows the caller's token."),
    route("auth/token/lookup-self", Read, Reads, Now(lookup::own), "Shows the caller's token."),
    route("auth/token/lookup-self", Write, Reads, Now(lookup::own), "Shows the caller's token."),
    route(
        "auth/token/lookup-accessor",
        Write,
        Reads,
        Now(lookup::by_accessor),
        "Shows the token of an accessor, without its text.",
    )
    .takes(&[lookup::ACCESSOR]),
    route("auth/token/renew", Write, WritesRows, Now(renew::any), "Prolongs a token.")
        .takes(&[lookup::TOKEN, renew::RENEW]),
    route(
        "auth/token/renew-self",
        Write,
        WritesRows,
        Now(renew::own),
        "Prolongs the caller's token.",
    )
    .takes(&[renew::RENEW]),
    route(
        "auth/token/renew-accessor",
        Write,
        WritesRows,
        Now(renew::by_accessor),
        "Prolongs the token of an accessor.",
    )
    .takes(&[lookup::ACCESSOR, renew::RENEW]),
    route(
        "auth/token/revoke",
        Write,
        WritesRows,
        Now(revoke::any),
        "Ends a token and its children.",
    )
    .takes(&[lookup::TOKEN]),
    route(
        "auth/token/revoke-self",
        Write,
        WritesRows,
        Now(revoke::own),
        "Ends the caller's token and its children.",
    ),
    route(
        "auth/token/revoke-accessor",
        Write,
        WritesRows,
        Now(revoke::by_accessor),
        "Ends the token of an accessor and its children.",
    )
    .takes(&[lookup::ACCESSOR]),
    route(
        "auth/token/revoke-orphan",
        Write,
        WritesRows,
        Now(revoke::alone),
        "Ends a token; its children live on as orphans.",
    )
    .takes(&[lookup::TOKEN])
    .sudo(),
    route("auth/token/roles", List, Reads, Now(roles::list), "The names of all token roles."),
    route("auth/token/roles/:name", Read, Reads, Now(roles::read), "Shows a token role."),
    route("auth/token/roles/:name", Write, WritesRows, Now(roles::write), "Writes a token role.")
        .takes(&[roles::ROLE]),
    route(
        "auth/token/roles/:name",
        Delete,
        WritesRows,
        Now(roles::delete),
        "Removes a token role.",
    ),
    route(
        "auth/token/accessors",
        List,
        Reads,
        Now(accessors::list),
        "The accessors of all tokens.",
    )
    .sudo(),
    route(
        "auth/token/tidy",
        Write,
        WritesRows,
        Now(tidy::tidy),
        "Begins to remove what ended tokens have left.",
    ),
];
