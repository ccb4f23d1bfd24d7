//! The routes of what bounds callers: lock-out, rate quotas, and passwords that are generated.

use conclave_mount::Operation::{Delete, List, Read, Write};

use super::{locked_users, password_policies, quotas, route};
use crate::routes::CoreRoute;
use crate::routes::Handler::Now;
use crate::routes::Kind::{Reads, WritesRows};

pub(crate) const LIMIT_ROUTES: &[CoreRoute] = &[
    route(
        "sys/locked-users",
        Read,
        Reads,
        Now(locked_users::list),
        "The names that are locked out after failed logins.",
    ),
    route(
        "sys/locked-users/:accessor/unlock/:alias",
        Write,
        WritesRows,
        Now(locked_users::unlock),
        "Lets a name that is locked out log in again.",
    ),
    route(
        "sys/quotas/config",
        Read,
        Reads,
        Now(quotas::read_config),
        "How rate quotas are applied.",
    ),
    route(
        "sys/quotas/config",
        Write,
        WritesRows,
        Now(quotas::write_config),
        "Changes how rate quotas are applied.",
    )
    .takes(&[quotas::QUOTAS]),
    route("sys/quotas/rate-limit", List, Reads, Now(quotas::list), "The names of all rate quotas."),
    route("sys/quotas/rate-limit/:name", Read, Reads, Now(quotas::read), "A rate quota."),
    route(
        "sys/quotas/rate-limit/:name",
        Write,
        WritesRows,
        Now(quotas::write),
        "Bounds how often an address may ask.",
    )
    .takes(&[quotas::QUOTA]),
    route(
        "sys/quotas/rate-limit/:name",
        Delete,
        WritesRows,
        Now(quotas::delete),
        "Removes a rate quota.",
    ),
    route(
        "sys/policies/password",
        List,
        Reads,
        Now(password_policies::list),
        "The names of all password policies.",
    ),
    route(
        "sys/policies/password/:name",
        Read,
        Reads,
        Now(password_policies::read),
        "A password policy's text.",
    ),
    route(
        "sys/policies/password/:name",
        Write,
        WritesRows,
        Now(password_policies::write),
        "Writes a password policy.",
    )
    .takes(&[password_policies::PASSWORD_POLICY]),
    route(
        "sys/policies/password/:name",
        Delete,
        WritesRows,
        Now(password_policies::delete),
        "Removes a password policy.",
    ),
    route(
        "sys/policies/password/:name/generate",
        Read,
        Reads,
        Now(password_policies::generate),
        "Makes a password as a policy says.",
    ),
];
